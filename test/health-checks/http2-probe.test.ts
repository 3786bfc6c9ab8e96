import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2, { type IncomingHttpHeaders } from 'node:http2'
import https from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { test } from 'node:test'
import { type BackendInit, createProxy, type ProbeOptions } from '../../src/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { queue } from '../support/running-proxy.ts'

const tls = { ca: certificate }

/** Changes of the health of one backend, as text. */
function probing(backend: BackendInit, options: ProbeOptions = {}) {
  const probe = { path: '/healthz', intervalMs: 10, rise: 1, fall: 1, timeoutMs: 2000, ...options } as const
  const proxy = createProxy({ backends: [backend], healthCheck: { probe }, logger: 'silent' })
  const changes = queue<string>()
  proxy.on('healthy', (_backend, reason) => changes.push(`healthy: ${reason}`))
  proxy.on('unhealthy', (_backend, reason) => changes.push(`unhealthy: ${reason}`))
  return { next: changes.next, [Symbol.asyncDispose]: () => proxy.close() }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

for (const [name, protocol, isSecure] of [
  ['by prior knowledge', 'h2', false],
  ['over TLS', 'h2', true],
  ["over TLS that has nothing else, with 'auto'", 'auto', true],
] as const) {
  test(`a backend of HTTP/2 is probed in it: ${name}`, async () => {
    const server = isSecure ? http2.createSecureServer({ cert: certificate, key }) : http2.createServer()
    let status = 200
    const asked: IncomingHttpHeaders[] = []
    server.on('stream', (stream, headers) => {
      asked.push(headers)
      stream.respond({ ':status': status })
      // More than a window.
      stream.end(Buffer.alloc(200_000))
    })
    server.on('sessionError', () => {})
    const port = await listen(server)
    const url = `${isSecure ? 'https' : 'http'}://localhost:${port}/base`
    await using watch = probing({ url, protocol, tls })
    while (asked.length < 2) await new Promise(setImmediate)
    status = 500
    assert.equal(await watch.next(), 'unhealthy: status 500')
    status = 301
    assert.match(await watch.next(), /^healthy/)
    const [first] = asked
    assert.deepEqual(
      [first?.[':method'], first?.[':path'], first?.[':authority'], first?.['user-agent']],
      ['GET', '/base/healthz', `localhost:${port}`, 'heddle-probe'],
    )
    server.close()
  })
}

test("'auto' probes by HTTP/1.1 where the backend chooses it", async () => {
  let status = 200
  let count = 0
  const server = https.createServer({ cert: certificate, key }, (request, response) => {
    assert.equal(request.httpVersion, '1.1')
    count++
    response.writeHead(status).end('body')
  })
  const port = await listen(server)
  await using watch = probing({ url: `https://localhost:${port}`, protocol: 'auto', tls })
  while (count < 2) await new Promise(setImmediate)
  status = 503
  assert.equal(await watch.next(), 'unhealthy: status 503')
  status = 200
  assert.match(await watch.next(), /^healthy/)
  server.close()
})

test('a backend without HTTP/2 fails a probe that needs it, and the reason says so', async () => {
  const server = https.createServer({ cert: certificate, key, ALPNProtocols: ['http/1.1'] })
  const port = await listen(server)
  await using watch = probing({ url: `https://localhost:${port}`, protocol: 'h2', tls })
  assert.match(await watch.next(), /no application protocol|does not offer HTTP\/2/i)
  server.close()
})
