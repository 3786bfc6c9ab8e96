import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http, { type ClientRequest, type IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import type { ServerOptions } from '../../../src/compat/http-proxy/index.ts'
import { badChunk, cutMidBody, deadPort, mockBackend, resetOnRequest } from '../../../src/testing/index.ts'
import { certificate as cert, key } from '../../support/certificates.ts'
import { converse } from '../../support/raw-client.ts'
import { webSocketBackend } from '../../support/upgrade-backends.ts'
import { codeOf, nextEvent, served } from './serving.ts'

/** An agent that counts its requests. */
class CountingAgent extends http.Agent {
  made = 0

  override createConnection(
    ...args: Parameters<http.Agent['createConnection']>
  ): ReturnType<http.Agent['createConnection']> {
    this.made++
    return super.createConnection(...args)
  }
}

test('agent: makes the connections, with the events and options of every call', async () => {
  await using backend = await mockBackend()
  const agent = new CountingAgent()
  await using front = await served({ target: `${backend.url}/base`, agent, auth: 'user:pass', xfwd: true })
  const events: string[] = []
  front.proxy.on('start', () => events.push('start'))
  front.proxy.on('proxyReq', (proxyReq) => {
    events.push('proxyReq')
    proxyReq.setHeader('X-Set', '1')
  })
  front.proxy.on('proxyRes', (proxyRes, req, res) => {
    events.push('proxyRes')
    assert.ok(res instanceof ServerResponse)
    assert.equal(req.url, '/x')
    proxyRes.headers['x-seen'] = '1'
  })
  front.proxy.on('end', () => events.push('end'))
  const response = await fetch(`${front.url}/x`, { headers: { 'x-forwarded-for': '192.0.2.1' } })
  assert.deepEqual([await response.text(), response.headers.get('x-seen')], ['GET /base/x', '1'])
  assert.deepEqual(events, ['start', 'proxyReq', 'proxyRes', 'end'])
  assert.equal(agent.made, 1)
  const [request] = backend.requests
  assert.equal(request?.header('x-set'), '1')
  // Once, not twice.
  assert.equal(request?.header('x-forwarded-for'), '192.0.2.1,127.0.0.1')
  // A later call without auth does not inherit it from `ssl`.
  front.proxy.options.auth = undefined
  await fetch(`${front.url}/x`)
  assert.equal(backend.requests[1]?.header('authorization'), undefined)
  agent.destroy()
})

test('toProxy: the whole URL is the path', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url, toProxy: true })
  const { text } = await converse(
    front.port,
    'GET http://other.example/x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n',
  )
  assert.match(text, /GET \/http:\/\/other.example\/x/)
})

test('fetch: carries the request', async () => {
  await using front = await served({
    target: 'http://target.invalid/base',
    fetch: (async (url: string, { method }: RequestInit) =>
      new Response(`${method} ${url}`, { status: 201 })) as unknown as typeof fetch,
  })
  const response = await fetch(`${front.url}/x`)
  assert.deepEqual([response.status, await response.text()], [201, 'GET http://target.invalid/base/x'])
})

test('fetchOptions: hooks run', async () => {
  await using backend = await mockBackend()
  const statuses: number[] = []
  await using front = await served({
    target: backend.url,
    fetchOptions: {
      onBeforeRequest(options, req) {
        ;(options.headers as Headers).set('X-Set', req.url ?? '')
      },
      onAfterResponse: (response) => void statuses.push(response.status),
    },
  })
  assert.equal(await (await fetch(`${front.url}/x`)).text(), 'GET /x')
  assert.deepEqual([backend.requests[0]?.header('x-set'), statuses], ['/x', [200]])
})

test('followRedirects beside an option that only http-proxy-3 has: to the target, whichever Host the client sends', async () => {
  await using backend = await mockBackend((request, reply) =>
    request.path === '/end'
      ? reply.send({ body: 'there' })
      : reply.send({ status: 302, headers: ['Location', '/end'] }),
  )
  await using other = await mockBackend({ body: 'elsewhere' })
  await using front = await served({ target: backend.url, followRedirects: true, agent: new http.Agent() })
  const { text } = await converse(
    front.port,
    `GET / HTTP/1.1\r\nHost: ${new URL(other.url).host}\r\nConnection: close\r\n\r\n`,
  )
  assert.match(text, /there/)
  assert.equal(other.requests.length, 0)
})

test('followRedirects beside such an option: at most so many', async () => {
  await using backend = await mockBackend((_request, reply) => reply.send({ status: 302, headers: ['Location', '/'] }))
  await using front = await served({ target: backend.url, followRedirects: 2, agent: new http.Agent() })
  front.proxy.on('error', (error, _req, res) => {
    if (res instanceof ServerResponse) res.writeHead(502).end(codeOf(error))
  })
  assert.equal(await (await fetch(front.url)).text(), 'ERR_FR_TOO_MANY_REDIRECTS')
  assert.equal(backend.requests.length, 3)
})

test('TLS over a unix socket, and TLS options of a target or a forward that only http-proxy-3 has', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'heddle-'))
  const socketPath = path.join(folder, 'b.sock')
  await using onSocket = await mockBackend({ body: 'on a socket' }, { socketPath, tls: { key, cert } })
  await using backend = await mockBackend({ body: 'on a port' }, { tls: { key, cert } })
  const protocol = 'https:'
  const withCiphers = { host: '127.0.0.1', port: backend.port, protocol, ciphers: 'ECDHE-RSA-AES256-GCM-SHA384' }
  await using front = await served({ secure: false }, (proxy, req, res) => {
    if (req.url === '/socket') return proxy.web(req, res, { target: { socketPath, protocol } })
    return proxy.web(req, res, req.url === '/port' ? { target: withCiphers } : { forward: withCiphers })
  })
  assert.equal(await (await fetch(`${front.url}/socket`)).text(), 'on a socket')
  assert.equal(await (await fetch(`${front.url}/port`)).text(), 'on a port')
  assert.equal(await (await fetch(`${front.url}/forward`)).text(), '')
  while (backend.requests.length < 2) await backend.nextRequestHead()
  assert.equal(onSocket.requests.length, 1)
  await rm(folder, { recursive: true })
})

test('localAddress: connects from there', async () => {
  let from: string | undefined
  const backend = http.createServer((req, res) => {
    from = req.socket.remoteAddress
    res.end()
  })
  backend.listen(0, '127.0.0.1')
  await once(backend, 'listening')
  await using front = await served({
    target: `http://127.0.0.1:${(backend.address() as AddressInfo).port}`,
    localAddress: '127.0.0.2',
  })
  await fetch(front.url)
  assert.equal(from, '127.0.0.2')
  backend.close()
})

test('agent: failures are told, or responded to by us, and the promise rejects', async () => {
  const { url } = await deadPort()
  await using backend = await mockBackend(resetOnRequest)
  const agent = new http.Agent()
  let rejected: unknown
  await using front = await served({ agent }, (proxy, req, res) =>
    proxy.web(req, res, { target: req.url === '/reset' ? backend.url : url }).catch((error) => {
      rejected = error
    }),
  )
  const response = await fetch(front.url)
  assert.deepEqual([response.status, await response.text()], [502, '502 Bad Gateway (ECONNREFUSED)\n'])
  assert.equal(codeOf(rejected as Error), 'ECONNREFUSED')
  front.proxy.on('error', (error, _req, res) => {
    if (res instanceof ServerResponse) res.writeHead(503).end(codeOf(error))
  })
  assert.equal(await (await fetch(`${front.url}/reset`)).text(), 'ECONNRESET')
})

for (const [what, script] of [
  ['cut', cutMidBody],
  ['of invalid chunks', badChunk],
] as const) {
  test(`agent: a response that is ${what} is truncated for the client, which does not wait for ever`, async () => {
    await using backend = await mockBackend(script)
    await using front = await served({ target: backend.url, agent: new http.Agent() })
    front.proxy.on('error', () => {})
    await assert.rejects((await fetch(front.url)).text())
  })
}

test('agent: listeners that throw fail their call alone', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url, agent: new http.Agent() })
  front.proxy.once('proxyReq', () => {
    throw new Error('thrown')
  })
  const errors: string[] = []
  front.proxy.on('error', (error, _req, res) => {
    errors.push(error.message)
    if (res instanceof ServerResponse) res.writeHead(503).end()
  })
  assert.equal((await fetch(front.url)).status, 503)
  assert.deepEqual(errors, ['thrown'])
  front.proxy.once('proxyRes', () => {
    throw new Error('thrown')
  })
  assert.equal((await fetch(front.url)).status, 500)
  assert.equal((await fetch(front.url)).status, 200)
})

test('agent: a queued request whose headers are set too late crashes nothing', async () => {
  await using backend = await mockBackend()
  // One connection, kept: the second request waits for it, and has sent its head when `proxyReq` comes.
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  await using front = await served({ target: backend.url, agent })
  front.proxy.on('proxyReq', (proxyReq) => proxyReq.setHeader('X-Set', '1'))
  front.proxy.on('error', (_error, _req, res) => void (res instanceof ServerResponse && res.writeHead(502).end()))
  const statuses = await Promise.all(Array.from({ length: 5 }, async () => (await fetch(front.url)).status))
  assert.ok(statuses.includes(200))
  agent.destroy()
})

test('agent: DELETE and OPTIONS with a body in chunks are one request', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  await using front = await served({ target: backend.url, agent: new http.Agent() })
  for (const method of ['DELETE', 'OPTIONS']) {
    const hidden = 'GET /secret HTTP/1.1\r\nHost: a\r\n\r\n'
    const head = `${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n`
    const { text } = await converse(front.port, `${head}${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`)
    assert.ok(text.includes('GET /secret'))
  }
  assert.deepEqual(
    backend.requests.map(({ method }) => method),
    ['DELETE', 'OPTIONS'],
  )
  assert.deepEqual(backend.faults, [])
})

test('agent: WebSockets, with their events', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url, agent: new http.Agent() })
  front.proxy.on('proxyReqWs', (proxyReq: ClientRequest) => proxyReq.setHeader('X-Set', '1'))
  const opened = nextEvent(front.proxy, 'open')
  const closed = nextEvent(front.proxy, 'close')
  const client = new WebSocket(front.wsUrl)
  await once(client, 'open')
  assert.ok(((await opened)[0] as Socket).remotePort !== undefined)
  client.send('hello')
  assert.equal(String((await once(client, 'message'))[0]), 'hello')
  assert.equal(backend.requests[0]?.headers['x-set'], '1')
  client.close()
  assert.equal(((await closed)[0] as IncomingMessage).statusCode, 101)
})

test('agent: a WebSocket to a target that is not there, and an upgrade with a body', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url, agent: new http.Agent() })
  const failed = nextEvent(front.proxy, 'error')
  const client = new WebSocket(front.wsUrl)
  assert.match(String((await once(client, 'error'))[0]), /socket hang up/)
  assert.equal(codeOf((await failed)[0] as Error), 'ECONNREFUSED')
  const head =
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello'
  assert.match((await converse(front.port, head)).text, /^HTTP\/1.1 400 /)
})

test('agent: listeners to open, end and close that throw crash nothing', async () => {
  await using backend = await mockBackend()
  await using sockets = await webSocketBackend()
  await using front = await served({ agent: new http.Agent() }, (proxy, req, res) =>
    proxy.web(req, res, { target: backend.url }),
  )
  front.proxy.options.target = sockets.url
  for (const event of ['open', 'end', 'close'] as const) {
    front.proxy.on(event, () => {
      throw new Error('thrown')
    })
  }
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
  const client = new WebSocket(front.wsUrl)
  await once(client, 'open')
  client.close()
  await once(client, 'close')
  while (front.logger.messages('error').length < 3) await new Promise((resolve) => setImmediate(resolve))
})

test('agent: false and undefined are none', async () => {
  await using backend = await mockBackend()
  for (const agent of [false, undefined, null] as ServerOptions['agent'][]) {
    await using front = await served({ target: backend.url, agent })
    front.proxy.on('proxyReq', (proxyReq) => assert.equal(proxyReq.constructor.name, 'OutgoingRequest'))
    assert.equal((await fetch(front.url)).status, 200)
  }
})
