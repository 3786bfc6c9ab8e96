import assert from 'node:assert/strict'
import { test } from 'node:test'
import zlib from 'node:zlib'
import express, { type RequestHandler } from 'express'
import { createProxyMiddleware, type fixRequestBody } from '../../../src/compat/middleware/index.ts'
import { mockBackend } from '../../../src/testing/mock-backend.ts'
import { app, backend, get, recordingLogger, same, served } from './both.ts'

const echo = () =>
  backend(async (req, res) => {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    const decoded = req.headers['content-encoding'] === 'gzip' ? zlib.gunzipSync(bytes) : bytes
    res.end(`${req.headers['content-type']} ${req.headers['content-encoding'] ?? '-'} ${decoded}`)
  })

const post = (type: string, body: string | Buffer, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': type, ...headers },
  body,
})

const KINDS: readonly [name: string, parser: RequestHandler, type: string, body: string, sent: string][] = [
  ['JSON', express.json(), 'application/json', '{ "a": "文" }', '{"a":"文"}'],
  ['JSON of a kind', express.json({ type: '*/*' }), 'application/a+json; charset=utf-8', '{"a":[1]}', '{"a":[1]}'],
  ['empty JSON', express.json(), 'application/json', '{}', '{}'],
  ['a form', express.urlencoded({ extended: false }), 'application/x-www-form-urlencoded', 'a=b&c=d', 'a=b&c=d'],
  ['text', express.text(), 'text/plain', 'hello', 'hello'],
]

for (const [name, parser, type, body, sent] of KINDS) {
  same(`fixRequestBody sends ${name}`, async (api) => {
    await using target = await echo()
    const proxy = api.createProxyMiddleware({ target: target.url, on: { proxyReq: api.fixRequestBody } })
    await using front = await served(app(parser, proxy))
    assert.equal(await get(front.url, post(type, body)), `200 ${type} - ${sent}`)
  })

  test(`${name} that a parser has read is sent without fixRequestBody`, async () => {
    await using target = await echo()
    await using front = await served(app(parser, createProxyMiddleware({ target: target.url })))
    assert.equal(await get(front.url, post(type, body)), `200 ${type} - ${sent}`)
  })

  same(`fixRequestBody leaves ${name} alone that nobody has read`, async (api) => {
    await using target = await echo()
    const proxy = api.createProxyMiddleware({ target: target.url, on: { proxyReq: api.fixRequestBody } })
    await using front = await served(app(proxy))
    assert.equal(await get(front.url, post(type, body)), `200 ${type} - ${body}`)
  })
}

same('fixRequestBody sends what the application has made of the body', async (api) => {
  await using target = await echo()
  const proxy = api.createProxyMiddleware({
    target: target.url,
    on: {
      proxyReq(proxyReq, req: { body?: Record<string, unknown> } & express.Request) {
        req.body = { ...req.body, injected: true }
        api.fixRequestBody(proxyReq, req)
      },
    },
  })
  await using front = await served(app(express.json(), proxy))
  assert.equal(
    await get(front.url, post('application/json', '{"a":1}')),
    '200 application/json - {"a":1,"injected":true}',
  )
})

same('fixRequestBody encodes as the request was', async (api) => {
  await using target = await echo()
  const proxy = api.createProxyMiddleware({ target: target.url, on: { proxyReq: api.fixRequestBody } })
  await using front = await served(app(express.json(), proxy))
  const init = post('application/json', zlib.gzipSync('{"a":1}'), { 'content-encoding': 'gzip' })
  assert.equal(await get(front.url, init), '200 application/json gzip {"a":1}')
})

/** Sends a form as the type that its Content-Type becomes. */
const asMultipart = (api: { fixRequestBody: typeof fixRequestBody }, boundary: string) => ({
  proxyReq(proxyReq: Parameters<typeof fixRequestBody>[0], req: express.Request) {
    proxyReq.setHeader('Content-Type', `multipart/form-data; boundary=${boundary}`)
    api.fixRequestBody(proxyReq, req)
  },
})

same('fixRequestBody writes multipart forms', async (api) => {
  await using target = await echo()
  for (const [boundary, written] of [
    ['BB', 'BB'],
    ['"a b"', 'a b'],
  ] as const) {
    const proxy = api.createProxyMiddleware({ target: target.url, on: asMultipart(api, boundary) })
    await using front = await served(app(express.urlencoded({ extended: false }), proxy))
    const part = (name: string, value: string) =>
      `--${written}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
    const expected = `${part('a\\"\\\\', '1')}${part('c', 'd e')}--${written}--\r\n`
    assert.equal(
      await get(front.url, post('application/x-www-form-urlencoded', 'a%22%5C=1&c=d+e')),
      `200 multipart/form-data; boundary=${boundary} - ${expected}`,
    )
  }
})

same('fixRequestBody refuses what would end a part of a multipart form: 400, and nothing is sent', async (api) => {
  for (const [boundary, form, code] of [
    ['BB', 'a=x%0D%0Ay', 'FIELD_VALUE'],
    ['BB', 'a=x--BBy', 'FIELD_VALUE'],
    ['BB', 'a%0Db=x', 'FIELD_NAME'],
    ['', 'a=x', 'BOUNDARY'],
    ['"a "', 'a=x', 'BOUNDARY'],
    ['x'.repeat(71), 'a=x', 'BOUNDARY'],
  ] as const) {
    await using target = await mockBackend()
    const logger = recordingLogger()
    const proxy = api.createProxyMiddleware({ target: target.url, on: asMultipart(api, boundary), logger })
    await using front = await served(app(express.urlencoded({ extended: false }), proxy))
    const response = await get(front.url, post('application/x-www-form-urlencoded', form))
    assert.match(response, /^400 Error occurred while trying to proxy/)
    assert.ok(logger.lines[0]?.includes(` HPM_ERR_INVALID_MULTIPART_${code} `), logger.lines[0])
    assert.equal(target.requests.length, 0)
  }
})
