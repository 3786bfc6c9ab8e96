import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { otherProtocol } from '../../src/http1/other-protocol.ts'
import type { BackendProtocol } from '../../src/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { runProxy } from '../support/running-proxy.ts'

/** What the error says if a backend is called by a protocol that it does not speak. */
async function messageOf(server: net.Server, scheme: string, protocol: BackendProtocol): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  try {
    const target = { url: `${scheme}://127.0.0.1:${port}`, protocol, tls: { ca: certificate } }
    const { tls: _, ...plain } = target
    await using front = await runProxy({ target: scheme === 'https' ? target : plain, retry: false })
    assert.equal((await fetch(front.url)).status, 502)
    return front.errors[0]?.message ?? ''
  } finally {
    server.close()
  }
}

const secure = { cert: certificate, key }

test('a backend of HTTP/2 that is called by HTTP/1.1', async () => {
  for (const protocol of ['http/1.1', 'auto'] as const) {
    const message = await messageOf(http2.createServer(), 'http', protocol)
    assert.match(message, /sent HTTP\/2 in place of a response of HTTP\/1\.x; is its protocol 'h2'\?$/)
  }
})

test('a backend with TLS that is called without', async () => {
  // Some servers send an alert, as this one does; others, such as node, only close the connection.
  const alert = (): net.Server => net.createServer((socket) => socket.end(Buffer.from('15030100020228', 'hex')))
  assert.match(
    await messageOf(alert(), 'http', 'http/1.1'),
    /sent TLS in place of a response; is it an https:\/\/ backend\?$/,
  )
  assert.match(
    await messageOf(alert(), 'http', 'h2'),
    /closed the connection while it was being set up; is it an https:\/\/ backend\?$/,
  )
})

test('a backend of HTTP/1.1 that is called by HTTP/2', async () => {
  const message = await messageOf(http.createServer(), 'http', 'h2')
  assert.match(message, /what it sent is not HTTP\/2; is its protocol 'http\/1\.1', or is it an https:\/\/ backend\?$/)
})

test('a backend that refuses all protocols that it is offered (ALPN)', async () => {
  const server = tls.createServer({ ...secure, ALPNProtocols: ['http/1.1'] })
  const message = await messageOf(server, 'https', 'h2')
  assert.match(
    message,
    /it takes none of the protocols that were offered \(ALPN\); is its protocol 'http\/1\.1', 'h2' or 'auto'\?/,
  )
  assert.doesNotMatch(message, /openssl|\n/)
})

test('a few bytes tell nothing', () => {
  for (const bytes of [[], [0x15], [0x15, 2], [0, 0, 0, 4], [72, 84, 84, 80]])
    assert.equal(otherProtocol(Uint8Array.from(bytes)), null)
  assert.equal(otherProtocol(Buffer.from('HTTP/1.1 400 Bad Request')), 'HTTP/1.x')
  assert.equal(otherProtocol(Uint8Array.from([0, 0, 0, 4, 0, 0, 0, 0, 1])), null)
})
