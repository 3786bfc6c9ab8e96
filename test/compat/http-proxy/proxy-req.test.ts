import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, ServerResponse } from 'node:http'
import { test } from 'node:test'
import bodyParser from 'body-parser'
import type { ServerOptions } from '../../../src/compat/http-proxy/index.ts'
import { type MockBackend, mockBackend, neverAnswer } from '../../../src/testing/index.ts'
import { converse } from '../../support/raw-client.ts'
import { codeOf, nextEvent, type Served, type SystemError, served } from './serving.ts'

/** Responds with the body of the request. */
function echo(): Promise<MockBackend> {
  return mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
}

/** A server whose `proxyReq` listener is `change`. */
async function changing(
  target: string,
  change: (proxyReq: ClientRequest, req: IncomingMessage, res: ServerResponse, options: ServerOptions) => unknown,
  options: ServerOptions = {},
): Promise<Served> {
  const front = await served({ target, ...options })
  front.proxy.on('proxyReq', change)
  return front
}

test('proxyReq: has the arguments of http-proxy, before anything is sent', async () => {
  await using backend = await mockBackend()
  await using front = await changing(`${backend.url}/base?a=1`, (proxyReq, req, res, options) => {
    assert.deepEqual([proxyReq.method, proxyReq.path, proxyReq.host], ['GET', '/base/x?a=1', '127.0.0.1'])
    assert.deepEqual([proxyReq.protocol, proxyReq.headersSent, proxyReq.destroyed], ['http:', false, false])
    assert.equal(req.url, '/x')
    assert.ok(res instanceof ServerResponse)
    assert.equal(String(options.target), `${backend.url}/base?a=1`)
    assert.equal(backend.requests.length, 0)
  })
  assert.equal(await (await fetch(`${front.url}/x`)).text(), 'GET /base/x?a=1')
})

test('proxyReq: headers are set, read, removed and listed', async () => {
  await using backend = await mockBackend()
  await using front = await changing(
    backend.url,
    (proxyReq) => {
      assert.equal(proxyReq.getHeader('X-Given'), 'a')
      assert.equal(proxyReq.getHeader('x-option'), 'o')
      proxyReq.setHeader('X-Set', 'b')
      proxyReq.setHeader('X-Number', 5)
      proxyReq.setHeader('X-List', ['c', 'd'])
      proxyReq.appendHeader('X-Given', 'e')
      proxyReq.removeHeader('X-Removed')
      proxyReq.setHeaders(new Map([['X-Map', 'f']]))
      assert.deepEqual([proxyReq.hasHeader('x-removed'), proxyReq.hasHeader('X-SET')], [false, true])
      assert.equal(proxyReq.getHeaders()['x-set'], 'b')
      assert.ok(!proxyReq.getHeaderNames().includes('x-removed'))
      assert.ok(proxyReq.getRawHeaderNames().includes('X-Set'))
    },
    { headers: { 'X-Option': 'o' } },
  )
  await fetch(front.url, { headers: { 'x-given': 'a', 'x-removed': 'x' } })
  const { rawHead } = await backend.nextRequest()
  for (const line of ['X-Set: b', 'X-Number: 5', 'X-List: c\r\nX-List: d', 'X-Given: a\r\nX-Given: e', 'X-Map: f']) {
    assert.ok(rawHead.includes(line), line)
  }
  assert.doesNotMatch(rawHead, /removed/i)
})

test('proxyReq: path, method and Host are sent as they are set', async () => {
  await using backend = await mockBackend()
  await using front = await changing(
    `${backend.url}/base`,
    (proxyReq) => {
      proxyReq.path = '/other?b=2'
      proxyReq.method = 'PUT'
      proxyReq.setHeader('host', 'set.example')
    },
    { changeOrigin: true },
  )
  assert.equal(await (await fetch(`${front.url}/x`)).text(), 'PUT /other?b=2')
  assert.equal(backend.requests[0]?.header('host'), 'set.example')
})

test('proxyReq: shows the Host of the target with changeOrigin', async () => {
  await using backend = await mockBackend()
  let host: unknown
  await using front = await changing(
    backend.url,
    (proxyReq) => {
      host = proxyReq.getHeader('host')
    },
    { changeOrigin: true },
  )
  await fetch(front.url)
  assert.equal(host, `127.0.0.1:${backend.port}`)
  assert.equal(backend.requests[0]?.header('host'), host)
})

test('proxyReq: headers of the connection have no effect', async () => {
  await using backend = await echo()
  await using front = await changing(backend.url, (proxyReq) => {
    proxyReq.setHeader('Connection', 'close')
    proxyReq.setHeader('Content-Length', 1000)
    proxyReq.setHeader('Transfer-Encoding', 'chunked')
  })
  for (let i = 0; i < 2; i++) {
    assert.equal(await (await fetch(front.url, { method: 'POST', body: 'hello' })).text(), 'hello')
  }
  assert.equal(backend.connections, 1)
})

test('proxyReq: what is written is sent in place of the body', async () => {
  await using backend = await echo()
  await using front = await changing(backend.url, (proxyReq) => {
    proxyReq.setHeader('Content-Length', 7)
    proxyReq.write('one ')
    proxyReq.write(Buffer.from('two'))
    proxyReq.end()
    assert.equal(proxyReq.write('more'), false)
  })
  const response = await fetch(front.url, { method: 'POST', body: 'x'.repeat(100_000) })
  assert.equal(await response.text(), 'one two')
  assert.equal(backend.requests[0]?.header('content-length'), '7')
})

test('proxyReq: a parsed body that no one else can restore is written again', async () => {
  await using backend = await echo()
  const parse = bodyParser.urlencoded({ extended: true })
  await using front = await served({ target: backend.url }, (proxy, req, res) =>
    parse(req as never, res as never, () => proxy.web(req, res)),
  )
  const form = (body: string) => fetch(front.url, { method: 'POST', body, headers: { 'content-type': FORM } })
  // Without a listener: it has been parsed, and what was sent is lost.
  assert.equal((await form('a[b]=1')).status, 500)
  front.proxy.on('proxyReq', (proxyReq, req) => {
    const text = JSON.stringify((req as unknown as { body: unknown }).body)
    proxyReq.setHeader('Content-Type', 'application/json')
    proxyReq.write(text)
  })
  assert.equal(await (await form('a[b]=1')).text(), '{"a":{"b":"1"}}')
  assert.equal(backend.requests[0]?.header('content-type'), 'application/json')
})
const FORM = 'application/x-www-form-urlencoded'

test('proxyReq: end() without anything written sends no body', async () => {
  await using backend = await echo()
  await using front = await changing(backend.url, (proxyReq) => proxyReq.end())
  assert.equal(await (await fetch(front.url, { method: 'POST', body: 'hello' })).text(), '')
})

test('proxyReq: the callbacks of write() and end() are called', async () => {
  await using backend = await echo()
  const called: string[] = []
  await using front = await changing(backend.url, (proxyReq) => {
    proxyReq.write('a', () => called.push('write'))
    proxyReq.write('Yg==', 'base64')
    proxyReq.end('c', () => called.push('end'))
  })
  assert.equal(await (await fetch(front.url, { method: 'POST', body: 'x' })).text(), 'abc')
  assert.deepEqual(called, ['write', 'end'])
})

test('proxyReq: listeners run for Expect: 100-continue, too', async () => {
  await using backend = await echo()
  await using front = await changing(backend.url, (proxyReq) => proxyReq.setHeader('X-Set', '1'))
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n'
  assert.match((await converse(front.port, `${head}hello`)).text, /hello$/)
  assert.equal(backend.requests[0]?.header('x-set'), '1')
})

test('proxyReq: a listener that throws fails its request alone', async () => {
  await using backend = await mockBackend()
  await using front = await changing(backend.url, (_proxyReq, req) => {
    if (req.url === '/bad') throw new Error('thrown')
  })
  const bad = await fetch(`${front.url}/bad`)
  assert.equal(bad.status, 500)
  assert.equal(await (await fetch(`${front.url}/good`)).text(), 'GET /good')
  assert.match(front.logger.messages('error').join('\n'), /thrown/)
})

test('proxyReq: a header that cannot be sent throws at the call', async () => {
  await using backend = await mockBackend()
  const codes: unknown[] = []
  await using front = await changing(backend.url, (proxyReq) => {
    for (const [name, value] of [
      ['a b', 'x'],
      ['a', 'x\r\ny: z'],
    ] as const) {
      try {
        proxyReq.setHeader(name, value)
      } catch (error) {
        codes.push((error as NodeJS.ErrnoException).code)
      }
    }
  })
  assert.equal((await fetch(front.url)).status, 200)
  assert.deepEqual(codes, ['ERR_INVALID_HTTP_TOKEN', 'ERR_INVALID_CHAR'])
})

test('proxyReq: a listener that changes headers after it has awaited is told so, and the client gets a response', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await changing(backend.url, async (proxyReq) => {
    await Promise.resolve()
    proxyReq.setHeader('X-Token', 'late')
  })
  const response = await fetch(front.url)
  assert.deepEqual(
    [response.status, await response.text()],
    [500, '500 Internal Server Error (ERR_HTTP_HEADERS_SENT)\n'],
  )
  assert.match(front.logger.messages('error')[0] ?? '', /a listener of 'proxyReq' rejected/)
})

test('proxyReq: destroy() in the listener sends nothing', async () => {
  await using backend = await mockBackend()
  await using front = await changing(backend.url, (proxyReq, req) => {
    if (req.url === '/error') proxyReq.destroy(Object.assign(new Error('no'), { code: 'E_MINE' }))
    else proxyReq.destroy()
  })
  front.proxy.on('error', (error, _req, res) => {
    if (res instanceof ServerResponse) res.writeHead(502).end(codeOf(error))
  })
  assert.equal(await (await fetch(front.url)).text(), 'ECONNRESET')
  assert.equal(await (await fetch(`${front.url}/error`)).text(), 'E_MINE')
  assert.equal(backend.requests.length, 0)
})

test('proxyReq: destroy() while the target is asked is a failure, and the target is left', async () => {
  await using backend = await mockBackend(neverAnswer)
  let sent: ClientRequest | undefined
  await using front = await changing(backend.url, (proxyReq) => {
    sent = proxyReq
    proxyReq.on('error', (error) => assert.equal(codeOf(error), 'ECONNRESET'))
  })
  front.proxy.on('error', (error, _req, res) => {
    if (res instanceof ServerResponse) res.writeHead(504).end(codeOf(error))
  })
  const response = fetch(front.url)
  await backend.nextRequestHead()
  assert.equal(sent?.headersSent, true)
  sent?.destroy()
  assert.deepEqual([(await response).status, await (await response).text()], [504, 'ECONNRESET'])
  await backend.untilOpenConnections(0)
})

test('proxyReq: a response that comes after destroy() does not reach the client', async () => {
  let sent: ClientRequest | undefined
  await using backend = await mockBackend(async (_request, reply) => {
    sent?.destroy()
    reply.send({ body: 'too late' })
  })
  await using front = await changing(backend.url, (proxyReq) => {
    sent = proxyReq
  })
  let errors = 0
  // Nobody responds at once.
  front.proxy.on('error', (_error, _req, res) => {
    errors++
    if (res instanceof ServerResponse) setTimeout(() => res.end('ours'), 50)
  })
  assert.equal(await (await fetch(front.url)).text(), 'ours')
  assert.equal(errors, 1)
})

test('proxyReq: destroy() within the response truncates it', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.head({ headers: ['Content-Length', '100'] })
    reply.chunk('some')
  })
  let sent: ClientRequest | undefined
  await using front = await changing(backend.url, (proxyReq) => {
    sent = proxyReq
  })
  front.proxy.on('error', () => {})
  const response = await fetch(front.url)
  sent?.destroy()
  await assert.rejects(response.text())
  await backend.untilOpenConnections(0)
})

test('proxyReq: destroy() after the end has no effect', async () => {
  await using backend = await mockBackend()
  let sent: ClientRequest | undefined
  await using front = await changing(backend.url, (proxyReq) => {
    sent = proxyReq
  })
  front.proxy.on('error', () => assert.fail('an error'))
  const closed = new Promise((resolve) => front.proxy.once('start', (_req, res) => res.once('close', resolve)))
  await (await fetch(front.url)).text()
  await closed
  sent?.destroy()
})

test('proxyReq: setTimeout() ends a request without a response, or calls back', async () => {
  await using backend = await mockBackend(neverAnswer)
  let calls = 0
  await using front = await changing(backend.url, (proxyReq, req) => {
    if (req.url === '/called') proxyReq.setTimeout(30, () => proxyReq.destroy(new Error(`called ${++calls}`)))
    else proxyReq.setTimeout(30)
  })
  const failed = nextEvent(front.proxy, 'error')
  const response = fetch(front.url)
  const [error, , res] = (await failed) as [SystemError, unknown, ServerResponse]
  assert.equal(error.code, 'ECONNRESET')
  res.end()
  await response
  const again = nextEvent(front.proxy, 'error')
  const second = fetch(`${front.url}/called`)
  const [told, , client] = (await again) as [Error, unknown, ServerResponse]
  assert.equal(told.message, 'called 1')
  client.end()
  await second
})

test('proxyReq: tells of its response and of its end', async () => {
  await using backend = await mockBackend()
  const told: unknown[] = []
  let closed: Promise<unknown> | undefined
  await using front = await changing(backend.url, (proxyReq) => {
    proxyReq.on('response', (response) => told.push(response.statusCode))
    closed = once(proxyReq, 'close')
    proxyReq.setTimeout(60_000)
  })
  await (await fetch(front.url)).text()
  await closed
  assert.deepEqual(told, [200])
})
