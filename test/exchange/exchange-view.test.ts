import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { Agent, request } from 'undici'
import type { Interceptor } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { certificate } from '../support/certificates.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse } from '../support/raw-client.ts'
import { ALL_FRONTS, runInServer, SECURE_FRONTS } from '../support/running-proxy.ts'

/** Notes the protocol of each exchange. */
function protocols(): { readonly seen: string[]; readonly list: Interceptor[] } {
  const seen: string[] = []
  const one = interceptor((next, exchange, request, body, sink) => {
    seen.push(exchange.protocol)
    next(exchange, request, body, sink)
  })
  return { seen, list: [one] }
}

for (const { name, run } of ALL_FRONTS) {
  for (const xfwd of [true, false]) {
    test(`${name}: only a trusted proxy says which protocol the client uses (xfwd: ${xfwd})`, async () => {
      await using backend = await mockBackend()
      for (const [trustedProxies, forwarded, expected] of [
        [[], 'https', 'http'],
        [['loopback'], 'https', 'https'],
        [['loopback'], 'HTTPS', 'https'],
        [['loopback'], 'https, http', 'https'],
        [['loopback'], 'http', 'http'],
        [['loopback'], 'gopher', 'http'],
        [['loopback'], '', 'http'],
      ] as const) {
        const { seen, list } = protocols()
        await using front = await run(through(backend, list, { xfwd, trustedProxies: [...trustedProxies] }))
        const text = `GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: ${forwarded}\r\nConnection: close\r\n\r\n`
        assert.match((await converse(front.port, text)).text, /^HTTP\/1\.1 200 /)
        assert.deepEqual(seen, [expected], `${trustedProxies} ${forwarded}`)
      }
    })
  }

  test(`${name}: the backend of an exchange is that of its latest attempt`, async () => {
    await using backend = await mockBackend()
    const seen: unknown[] = []
    await using front = await run(
      through({ url: backend.url }, (next, exchange, request, body, sink) => {
        seen.push(exchange.backend)
        next(exchange, request, body, sink)
        seen.push(exchange.backend?.url.origin)
      }),
    )
    await (await fetch(front.url)).text()
    assert.deepEqual(seen, [null, backend.url])
  })

  test(`${name}: a target takes the same route, or another, or none`, async () => {
    await using backend = await mockBackend()
    const seen: string[] = []
    const asks = interceptor((next, exchange, request, body, sink) => {
      for (const [method, target] of [
        ['GET', '/app/other?a=1'],
        ['POST', '/app'],
        ['GET', '/app/private/x'],
        ['GET', '/app/a/../private'],
        ['GET', '/app/%70rivate'],
        ['GET', '/app%2fother'],
        ['GET', '/'],
        ['GET', 'nonsense'],
        ['BAD METHOD', '/app'],
      ] as const) {
        if (exchange.takesSameRoute(method, target)) seen.push(`${method} ${target}`)
      }
      next(exchange, request, body, sink)
    })
    await using front = await run({
      groups: { app: { target: backend.url } },
      routes: [
        { path: '/app', group: 'app', interceptors: [asks] },
        { path: '/app', group: 'app', method: 'POST' },
        { path: '/app/private', group: 'app' },
        { path: '/', host: 'other.test', group: 'app' },
      ],
    })
    await (await fetch(`${front.url}/app/here`)).text()
    assert.deepEqual(seen, ['GET /app/other?a=1'])
  })
}

for (const { name, run } of SECURE_FRONTS) {
  test(`${name}: a client over TLS uses https`, async () => {
    await using backend = await mockBackend()
    const { seen, list } = protocols()
    await using front = await run(through(backend, list))
    const agent = new Agent({ connect: { ca: certificate } })
    await (await request(front.url, { dispatcher: agent })).body.dump()
    await agent.close()
    assert.deepEqual(seen, ['https'])
  })
}

test('an application says which protocol the client uses', async () => {
  await using backend = await mockBackend()
  const { seen, list } = protocols()
  await using front = await runInServer(through(backend, list), (proxy) =>
    http.createServer((req, res) => {
      req.headers['x-forwarded-proto'] = 'https'
      proxy.web(req, res)
    }),
  )
  await (await fetch(front.url)).text()
  assert.deepEqual(seen, ['https'])
})
