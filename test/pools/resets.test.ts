import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import type { BackendInit } from '../../src/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { rawClient } from '../support/raw-client.ts'
import { runProxy } from '../support/running-proxy.ts'

const RESPONSE = 'HTTP/1.1 400 Bad Request\r\n\r\n0123456789'
const PLAIN = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const UPGRADE = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n'

/** Answers each connection once, and ends it together with the last bytes. */
async function backendThat(ends: 'FIN' | 'RST', isSecure: boolean): Promise<net.Server> {
  const tcpSockets: net.Socket[] = []
  const answer = (socket: net.Socket): void => {
    let text = ''
    socket
      .on('error', () => {})
      .on('data', (bytes) => {
        text += bytes.toString('latin1')
        if (!text.includes('\r\n\r\n')) return
        if (ends === 'FIN') socket.end(RESPONSE)
        else socket.write(RESPONSE, () => tcpSockets.at(-1)?.resetAndDestroy())
      })
  }
  const server = isSecure ? tls.createServer({ key, cert: certificate }, answer) : net.createServer(answer)
  server.on('connection', (socket: net.Socket) => tcpSockets.push(socket.on('error', () => {})))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

for (const [what, request, options] of [
  ['a response', PLAIN, {}],
  ['a response over TLS', PLAIN, { tls: { ca: certificate, servername: 'localhost' } }],
  ['a response after a PROXY header', PLAIN, { proxyProtocol: 'v1' }],
  ['a refused upgrade', UPGRADE, {}],
] as [string, string, Partial<BackendInit>][]) {
  for (const ends of ['FIN', 'RST'] as const) {
    const outcome = ends === 'FIN' ? 'answered' : 'truncated'
    test(`${what} to the end of the connection, whose last bytes come together with a ${ends}: ${outcome}`, async () => {
      const isSecure = options.tls !== undefined
      const backend = await backendThat(ends, isSecure)
      const { port } = backend.address() as net.AddressInfo
      const url = `${isSecure ? 'https' : 'http'}://127.0.0.1:${port}`
      await using front = await runProxy({ backends: [{ url, ...options }], retry: false, healthCheck: false })
      const client = rawClient(front.port)
      client.write(request)
      const record = await front.nextRecord()
      assert.deepEqual([record.status, record.outcome], [400, outcome])
      client.socket.destroy()
      backend.close()
    })
  }
}
