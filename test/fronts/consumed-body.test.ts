import assert from 'node:assert/strict'
import http, { type IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import express from 'express'
import type { ProxyOptions } from '../../src/index.ts'
import { type MockRequest, mockBackend } from '../../src/testing/index.ts'
import { type RunningProxy, runInServer } from '../support/running-proxy.ts'

/** Express with body parsers before the proxy. */
function behind(options: ProxyOptions, ...parsers: express.RequestHandler[]): Promise<RunningProxy> {
  return runInServer(options, (proxy) => {
    const app = express()
    for (const parser of parsers) app.use(parser)
    app.use((req, res) => proxy.web(req, res))
    return http.createServer(app)
  })
}

interface Sent {
  readonly type: string
  readonly body: string | Buffer
  readonly headers?: Record<string, string>
}

async function resent(parser: express.RequestHandler, { type, body, headers = {} }: Sent): Promise<MockRequest> {
  await using backend = await mockBackend()
  await using front = await behind({ target: backend.url }, parser)
  const response = await fetch(front.url, { method: 'POST', body, headers: { 'Content-Type': type, ...headers } })
  assert.equal(response.status, 200, await response.text())
  return backend.nextRequest()
}

async function refused(parser: express.RequestHandler, { type, body, headers = {} }: Sent): Promise<void> {
  await using backend = await mockBackend()
  await using front = await behind({ target: backend.url }, parser)
  const response = await fetch(front.url, { method: 'POST', body, headers: { 'Content-Type': type, ...headers } })
  assert.equal(response.status, 500)
  assert.equal(await response.text(), '500 Internal Server Error (ERR_PROXY_BODY_CONSUMED)\n')
  const record = await front.nextRecord()
  assert.equal(record.errorCode, 'ERR_PROXY_BODY_CONSUMED')
  assert.match(front.errors[0]?.message ?? '', /before body parsers|rawBody/)
  assert.equal(backend.connections, 0)
}

test('a body that express.json() has read is sent again', async () => {
  const body = '{"a":[1,"zwei",null,{"ü":true}]}'
  const request = await resent(express.json(), { type: 'application/json; charset=utf-8', body })
  assert.equal(request.bodyText, body)
  assert.equal(request.header('content-length'), String(Buffer.byteLength(body)))
})

test('a body that express.urlencoded() has read is sent again', async () => {
  const request = await resent(express.urlencoded(), {
    type: 'application/x-www-form-urlencoded',
    body: 'a=1&b=x+y%26z&d=%C3%BC&e=',
  })
  assert.equal(request.bodyText, 'a=1&b=x+y%26z&d=%C3%BC&e=')
})

test('a body that express.text() has read is sent again', async () => {
  const request = await resent(express.text(), { type: 'text/plain', body: 'größer\r\n\0' })
  assert.equal(request.bodyText, 'größer\r\n\0')
})

test('a body that express.raw() has read is sent again', async () => {
  const body = Buffer.from([0, 255, 128, 13, 10])
  const request = await resent(express.raw(), { type: 'application/octet-stream', body })
  assert.deepEqual(request.bodyBytes, body)
})

test('JSON that was read as text is sent again as it was', async () => {
  const request = await resent(express.text({ type: '*/*' }), { type: 'application/json', body: '{ "a" : 1 }' })
  assert.equal(request.bodyText, '{ "a" : 1 }')
})

test('a body in chunks that a parser has read is sent again with its length', async () => {
  await using backend = await mockBackend()
  await using front = await behind({ target: backend.url }, express.json())
  const client = http.request(front.url, { method: 'POST', headers: { 'Content-Type': 'application/json' } })
  client.write('{"a"')
  client.end(':1}')
  await new Promise<IncomingMessage>((resolve) => client.on('response', (response) => resolve(response.resume())))
  const request = await backend.nextRequest()
  assert.equal(request.bodyText, '{"a":1}')
  assert.equal(request.header('content-length'), '7')
  assert.equal(request.header('transfer-encoding'), undefined)
})

test('a content coding that a parser took off is not announced any more', async () => {
  const request = await resent(express.json(), {
    type: 'application/json',
    body: gzipSync('{"a":1}'),
    headers: { 'Content-Encoding': 'gzip' },
  })
  assert.equal(request.bodyText, '{"a":1}')
  assert.equal(request.header('content-encoding'), undefined)
})

const keepRawBody = express.json({
  verify(req, _res, bytes) {
    ;(req as { rawBody?: Buffer }).rawBody = bytes
  },
})

test('rawBody goes before body: it is exact to the byte', async () => {
  const request = await resent(keepRawBody, { type: 'application/json', body: '{ "a" : 1.0 }' })
  assert.equal(request.bodyText, '{ "a" : 1.0 }')
})

test('a form with nested fields is 500 ERR_PROXY_BODY_CONSUMED at once', () =>
  refused(express.urlencoded({ extended: true }), {
    type: 'application/x-www-form-urlencoded',
    body: 'a[b]=1&a[c]=2',
  }))

test('a form whose lists cannot be written again as they were is 500 ERR_PROXY_BODY_CONSUMED at once', () =>
  refused(express.urlencoded({ extended: true }), { type: 'application/x-www-form-urlencoded', body: 'a[]=1&a[]=2' }))

test('text in another charset than UTF-8 is not sent again as UTF-8', () =>
  refused(express.text(), {
    type: 'text/plain; charset=iso-8859-1',
    body: Buffer.from('gr\xf6\xdfer', 'latin1'),
  }))

const drainIt: express.RequestHandler = (req, _res, next) => void req.resume().on('end', () => next())

for (const [what, type, body] of [
  ['a multipart form', 'multipart/form-data; boundary=x', '--x\r\n\r\na\r\n--x--\r\n'],
  ['bytes that nobody kept', 'application/octet-stream', 'gone'],
  ['JSON that nobody kept', 'application/json', '{}'],
] as const) {
  test(`${what} that was read before is 500 ERR_PROXY_BODY_CONSUMED at once`, () => refused(drainIt, { type, body }))
}

test('a multipart form with its fields in req.body is 500 ERR_PROXY_BODY_CONSUMED at once', () =>
  refused((req, res, next) => drainIt(Object.assign(req, { body: { a: '1' } }), res, next), {
    type: 'multipart/form-data; boundary=x',
    body: '--x\r\n\r\na\r\n--x--\r\n',
  }))

test('a parser that did not read leaves the stream to us', async () => {
  const request = await resent(express.json(), { type: 'text/plain', body: 'not json' })
  assert.equal(request.bodyText, 'not json')
})

test('a request without a body goes on behind a parser', async () => {
  await using backend = await mockBackend()
  await using front = await behind({ target: backend.url }, express.json(), express.urlencoded())
  assert.equal((await fetch(front.url)).status, 200)
  assert.equal((await backend.nextRequest()).bodyText, '')
})
