import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import type { ServerOptions } from '../../../src/compat/http-proxy/index.ts'
import { deadPort, mockBackend, neverAnswer } from '../../../src/testing/index.ts'
import { certificate, key } from '../../support/certificates.ts'
import { converse } from '../../support/raw-client.ts'
import { codeOf, nextEvent, type SystemError, served } from './serving.ts'

test('a request goes to the target and its response comes back, over one connection', async () => {
  await using backend = await mockBackend((request, reply) =>
    reply.send({
      status: 201,
      headers: ['X-Reply', 'yes', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'],
      body: request.path,
    }),
  )
  await using front = await served({ target: backend.url })
  for (let i = 0; i < 3; i++) {
    const response = await fetch(`${front.url}/x?y=1`, { method: 'POST', body: 'hello', headers: { 'X-Given': 'a' } })
    assert.deepEqual([response.status, await response.text(), response.headers.get('x-reply')], [201, '/x?y=1', 'yes'])
    assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
    const request = await backend.nextRequest()
    assert.deepEqual([request.method, request.path, request.bodyText], ['POST', '/x?y=1', 'hello'])
    assert.deepEqual([request.header('x-given'), request.header('host')], ['a', `127.0.0.1:${front.port}`])
  }
  assert.equal(backend.connections, 1)
})

test('the target may be a URL, its parts, a function of the request, or given in the call', async () => {
  await using backend = await mockBackend()
  const { port, url } = backend
  const targets: ServerOptions['target'][] = [
    url,
    new URL(url),
    { host: '127.0.0.1', port },
    { host: 'x:1', hostname: '127.0.0.1', port: String(port), protocol: 'http:' },
    (req) => `${url}/by-function${req.url}`,
  ]
  await using front = await served({ target: 'http://127.0.0.1:1' }, (proxy, req, res) =>
    proxy.web(req, res, { target: targets[Number(req.headers['x-which'])] }),
  )
  for (const which of targets.keys()) {
    const response = await fetch(`${front.url}/x`, { headers: { 'x-which': String(which) } })
    assert.equal(await response.text(), which === 4 ? 'GET /by-function/x/x' : 'GET /x', String(which))
  }
})

test('a target that is not there is an error, and so is a function that throws', async () => {
  const problem = new Error('nobody knows')
  for (const [options, pattern] of [
    [{}, /Must set target or forward/],
    [{ target: 'nonsense' }, /Invalid URL/],
    [{ target: { host: 'a b' } }, /target has the host "a b"/],
    [
      {
        target: () => {
          throw problem
        },
      },
      /nobody knows/,
    ],
  ] as const) {
    await using front = await served(options)
    front.proxy.on('error', (error, _req, res) => void ('writeHead' in res && res.writeHead(503).end(error.message)))
    const response = await fetch(front.url)
    assert.equal(response.status, 503)
    assert.match(await response.text(), pattern)
  }
})

test('paths cannot lead out of the path of the target', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: `${backend.url}/base` })
  const line = async (path: string) =>
    (await converse(front.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).text
  assert.match(await line('/../x'), /GET \/base\/x$/)
  assert.match(await line('/%2e%2e/x'), /GET \/base\/x$/)
  assert.match(await line('/..%2fx'), /^HTTP\/1.1 400 /)
})

test('changeOrigin sends the host of the target', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url, changeOrigin: true })
  await fetch(front.url)
  assert.equal((await backend.nextRequest()).header('host'), `127.0.0.1:${backend.port}`)
  front.proxy.options.headers = { host: 'by.options' }
  await fetch(front.url)
  assert.equal((await backend.nextRequest()).header('host'), `127.0.0.1:${backend.port}`)
  front.proxy.options.changeOrigin = false
  await fetch(front.url)
  assert.equal((await backend.nextRequest()).header('host'), 'by.options')
})

test('headers are set, in lines if they are lists, and removed; those of the connection stay ours', async () => {
  await using backend = await mockBackend()
  await using front = await served({
    target: backend.url,
    headers: {
      'X-One': 'a',
      'X-Two': ['b', 'c'],
      'X-Given': undefined,
      Connection: 'upgrade',
      'Content-Length': '7',
      'Transfer-Encoding': 'gzip',
    },
  })
  await fetch(front.url, { method: 'POST', body: 'hello', headers: { 'x-given': 'x', 'x-one': 'old' } })
  const request = await backend.nextRequest()
  const named = request.headers.filter((_value, i, list) => i % 2 === 1 && /^x-/i.test(list[i - 1] as string))
  assert.deepEqual(named, ['a', 'b', 'c'])
  assert.deepEqual([request.header('content-length'), request.bodyText], ['5', 'hello'])
  assert.equal(request.header('transfer-encoding'), undefined)
})

test('an invalid header of the options fails the call', async () => {
  await using front = await served({ target: 'http://127.0.0.1:1', headers: { 'X-One': 'a\r\nb: c' } })
  assert.equal((await fetch(front.url)).status, 500)
})

test('auth replaces the Authorization of the client', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url, auth: 'user:pass' })
  await fetch(front.url, { headers: { authorization: 'Bearer x' } })
  const request = await backend.nextRequest()
  assert.equal(request.header('authorization'), `Basic ${Buffer.from('user:pass').toString('base64')}`)
  assert.doesNotMatch(request.rawHead, /Bearer/)
  // The next call does not inherit it.
  front.proxy.options.auth = undefined
  await fetch(front.url)
  assert.equal((await backend.nextRequest()).header('authorization'), undefined)
})

test('method is sent instead of the own one', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url, method: 'PUT' })
  await fetch(front.url, { method: 'POST', body: 'x' })
  assert.equal((await backend.nextRequest()).method, 'PUT')
})

test('forwarding headers of the client pass, with and without xfwd, which appends', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  const headers = {
    'x-forwarded-for': '192.0.2.1',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'shop.example',
    'x-real-ip': '192.0.2.1',
    forwarded: 'for=192.0.2.1',
  }
  const facts = async () => {
    const request = await backend.nextRequest()
    return Object.keys(headers).map((name) => request.header(name))
  }
  await fetch(front.url)
  assert.deepEqual(await facts(), [undefined, undefined, undefined, undefined, undefined])
  await fetch(front.url, { headers })
  assert.deepEqual(await facts(), Object.values(headers))
  front.proxy.options.xfwd = true
  await fetch(front.url, { headers })
  assert.deepEqual(await facts(), ['192.0.2.1,127.0.0.1', 'https,http', 'shop.example', '192.0.2.1', 'for=192.0.2.1'])
  await fetch(front.url)
  assert.deepEqual((await facts()).slice(0, 3), ['127.0.0.1', 'http', `127.0.0.1:${front.port}`])
  assert.equal(backend.requests.at(-1)?.header('x-forwarded-port'), String(front.port))
})

test('xfwd without a Host: the rest is told', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url, xfwd: true })
  await converse(front.port, 'GET / HTTP/1.0\r\n\r\n')
  const request = await backend.nextRequest()
  assert.equal(request.header('x-forwarded-host'), undefined)
  assert.deepEqual([request.header('x-forwarded-for'), request.header('x-forwarded-port')], ['127.0.0.1', '80'])
})

test('hop-by-hop headers stay behind, and Trailer without trailers', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  await converse(
    front.port,
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nTE: gzip\r\nTrailer: x\r\nProxy-Authorization: b\r\nX-Other: 2\r\n\r\n',
  )
  const { rawHead } = await backend.nextRequest()
  assert.doesNotMatch(rawHead, /x-hop|keep-alive: 1|te:|trailer|proxy-authorization/i)
  assert.match(rawHead, /X-Other: 2/)
})

test('trailers of a request in chunks pass', async () => {
  await using backend = await mockBackend(async (request, reply) => {
    await request.body()
    reply.send()
  })
  await using front = await served({ target: backend.url })
  const body = '5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n'
  await converse(
    front.port,
    `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n${body}`,
  )
  const request = await backend.nextRequest()
  assert.deepEqual([request.header('trailer'), request.trailers], ['X-Sum', ['X-Sum', '1']])
})

test('DELETE and OPTIONS with a body are one request', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  await using front = await served({ target: backend.url })
  for (const method of ['DELETE', 'OPTIONS']) {
    const hidden = 'GET /secret HTTP/1.1\r\nHost: a\r\n\r\n'
    const chunk = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`
    const head = `${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n`
    const { text } = await converse(front.port, head + chunk)
    assert.ok(text.includes('GET /secret'))
  }
  assert.deepEqual(
    backend.requests.map(({ method }) => method),
    ['DELETE', 'OPTIONS'],
  )
  assert.deepEqual(backend.faults, [])
})

test('buffer is sent in place of the own body', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  await using front = await served({ target: backend.url }, async (proxy, req, res) => {
    const chunks = await req.toArray()
    proxy.web(req, res, { buffer: Readable.from([Buffer.concat(chunks).toString().toUpperCase()]) })
  })
  const response = await fetch(front.url, { method: 'POST', body: 'hello' })
  assert.equal(await response.text(), 'HELLO')
})

test('a buffer that fails is a failure of the call', async () => {
  await using backend = await mockBackend(async (request, reply) => {
    await request.body()
    reply.send()
  })
  const buffer = new PassThrough()
  await using front = await served({ target: backend.url, buffer })
  const response = fetch(front.url, { method: 'POST', body: 'x' })
  await backend.nextRequestHead()
  buffer.destroy(new Error('no more'))
  assert.equal((await response).status, 500)
})

test('a body that a parser has read is sent again', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  await using front = await served({ target: backend.url }, async (proxy, req, res) => {
    const text = Buffer.concat(await req.toArray()).toString()
    proxy.web(Object.assign(req, { body: JSON.parse(text) }), res)
  })
  const response = await fetch(front.url, {
    method: 'POST',
    body: '{"a":1}',
    headers: { 'content-type': 'application/json' },
  })
  assert.equal(await response.text(), '{"a":1}')
})

test('proxyTimeout ends a silent target with ECONNRESET, until its response and within it', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await served({ target: backend.url, proxyTimeout: 60 })
  const failed = nextEvent(front.proxy, 'error')
  const response = fetch(front.url)
  const [error, , res] = (await failed) as [SystemError, unknown, { end(text: string): void }]
  assert.deepEqual([error.code, error.message], ['ECONNRESET', 'socket hang up'])
  assert.equal(error.cause?.code, 'ERR_PROXY_HEADERS_TIMEOUT')
  res.end('late')
  assert.equal(await (await response).text(), 'late')
  backend.use((_request, reply) => {
    reply.head()
    reply.chunk('x')
  })
  const truncated = nextEvent(front.proxy, 'error')
  await assert.rejects((await fetch(front.url)).text())
  assert.equal(((await truncated)[0] as SystemError).cause?.code, 'ERR_PROXY_IDLE_TIMEOUT')
})

test('without proxyTimeout nothing limits a target; one call may', async () => {
  let isAnswering: () => void = () => {}
  const gate = new Promise<void>((resolve) => {
    isAnswering = resolve
  })
  await using backend = await mockBackend(async (request, reply) => {
    if (request.path === '/slow') await gate
    if (request.path !== '/never') reply.send({ body: 'ok' })
  })
  await using front = await served({ target: backend.url }, (proxy, req, res) =>
    proxy.web(req, res, req.url === '/never' ? { proxyTimeout: 40 } : {}, (error) =>
      res.writeHead(504).end(codeOf(error)),
    ),
  )
  const slow = fetch(`${front.url}/slow`)
  const never = await fetch(`${front.url}/never`)
  assert.deepEqual([never.status, await never.text()], [504, 'ECONNRESET'])
  isAnswering()
  assert.equal(await (await slow).text(), 'ok')
})

test('timeout ends a silent connection of the client', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await served({ target: backend.url, timeout: 40 })
  const reset = nextEvent(front.proxy, 'econnreset')
  await assert.rejects(fetch(front.url))
  const [error, req, res, target] = await reset
  assert.equal((error as SystemError).code, 'ECONNRESET')
  assert.equal((req as { url: string }).url, '/')
  assert.ok(res !== undefined)
  assert.equal(String(target), `${backend.url}/`)
})

test('connectTimeout has a code of its own, and covers TLS', async () => {
  const server = net.createServer((socket) => void socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  await using front = await served({ target: `https://127.0.0.1:${port}`, connectTimeout: 60 }, (proxy, req, res) =>
    proxy.web(req, res, {}, (error) => res.writeHead(504).end(`${codeOf(error)} ${error.message}`)),
  )
  assert.equal(await (await fetch(front.url)).text(), 'ECONNECT_TIMEOUT ECONNECT_TIMEOUT')
  server.close()
})

test('a unix socket', async () => {
  const socketPath = join(tmpdir(), `heddle-http-proxy-${process.pid}.sock`)
  await using backend = await mockBackend(undefined, { socketPath })
  await using front = await served({ target: { socketPath } })
  assert.equal(await (await fetch(`${front.url}/x`)).text(), 'GET /x')
  assert.equal(backend.requests.length, 1)
})

test('TLS: refused by default, accepted with secure: false or ca', async () => {
  await using backend = await mockBackend(undefined, { tls: { key, cert: certificate } })
  await using front = await served({ target: backend.url }, (proxy, req, res) =>
    proxy.web(
      req,
      res,
      { '/': {}, '/insecure': { secure: false }, '/ca': { ca: certificate } }[req.url ?? '/'] ?? {},
      (error) => res.writeHead(502).end(`${codeOf(error)} ${error.message}`),
    ),
  )
  const refused = await fetch(front.url)
  assert.equal(refused.status, 502)
  assert.match(await refused.text(), /^DEPTH_ZERO_SELF_SIGNED_CERT self-signed certificate/)
  assert.equal(await (await fetch(`${front.url}/insecure`)).text(), 'GET /insecure')
  assert.equal(await (await fetch(`${front.url}/ca`)).text(), 'GET /ca')
})

test('a client that leaves ends the request to the target', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await served({ target: backend.url })
  const reset = nextEvent(front.proxy, 'econnreset')
  const client = net.connect(front.port, '127.0.0.1').on('error', () => {})
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequestHead()
  client.destroy()
  assert.equal(((await reset)[0] as SystemError).code, 'ECONNRESET')
  await backend.untilOpenConnections(0)
})

test('a target that has closed a kept connection is asked again over another one', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  await (await fetch(front.url)).text()
  backend.closeIdle()
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
})

test('nothing is repeated at a target that fails', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url }, (proxy, req, res) =>
    proxy.web(req, res, {}, (error) => res.writeHead(502).end(`${codeOf(error)} ${error.message}`)),
  )
  assert.match(await (await fetch(front.url)).text(), /^ECONNREFUSED connect ECONNREFUSED 127/)
})

test('requests of a pipeline get their responses in order', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  front.proxy.on('proxyReq', (proxyReq, req) => proxyReq.setHeader('X-Path', req.url ?? ''))
  const lines = ['/a', '/b', '/c'].map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n`)
  const { text } = await converse(front.port, `${lines.join('\r\n')}Connection: close\r\n\r\n`)
  assert.deepEqual(text.match(/GET \/\w/g), ['GET /a', 'GET /b', 'GET /c'])
  assert.deepEqual(
    backend.requests.map((request) => request.header('x-path')),
    ['/a', '/b', '/c'],
  )
})
