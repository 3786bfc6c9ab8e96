import assert from 'node:assert/strict'
import { test } from 'node:test'
import zlib from 'node:zlib'
import { createProxyMiddleware, responseInterceptor } from '../../../src/compat/middleware/index.ts'
import { cutMidBody, resetMidBody, shortBody } from '../../../src/testing/misbehaviour.ts'
import { mockBackend } from '../../../src/testing/mock-backend.ts'
import { converse } from '../../support/raw-client.ts'
import { type Api, app, backend, get, recordingLogger, same, served } from './both.ts'

type Interceptor = Parameters<typeof responseInterceptor>[0]

const intercepting = (
  api: Pick<Api, 'createProxyMiddleware' | 'responseInterceptor'>,
  target: string,
  edit: Interceptor,
) =>
  api.createProxyMiddleware({
    target,
    selfHandleResponse: true,
    on: { proxyRes: api.responseInterceptor(edit) },
    logger: recordingLogger(),
  })
const ours = { createProxyMiddleware, responseInterceptor }

const CODERS: Readonly<Record<string, ((text: string) => Buffer) | undefined>> = {
  identity: Buffer.from,
  gzip: zlib.gzipSync,
  br: zlib.brotliCompressSync,
  deflate: zlib.deflateSync,
  zstd: zlib.zstdCompressSync,
}

for (const [coding, encode] of Object.entries(CODERS)) {
  same(
    `a ${coding} response is seen decoded, and its length is right`,
    async (api) => {
      await using target = await backend((_req, res) => {
        res.writeHead(201, 'Made', {
          'x-kept': 'yes',
          'content-type': 'text/plain',
          ...(coding !== 'identity' && { 'content-encoding': coding }),
        })
        res.end(encode?.('Hello 文'))
      })
      const proxy = intercepting(api, target.url, async (buffer, proxyRes, req, res) => {
        res.setHeader('x-seen', `${proxyRes.statusCode} ${req.url}`)
        return `${buffer.toString().replace('Hello', 'Goodbye')}!`
      })
      await using front = await served(app(proxy))
      const response = await fetch(`${front.url}/a`)
      assert.equal(await response.text(), 'Goodbye 文!')
      assert.deepEqual([response.status, response.statusText], [201, 'Made'])
      const header = (name: string) => response.headers.get(name)
      assert.equal(header('content-length'), String(Buffer.byteLength('Goodbye 文!')))
      assert.equal(header('content-encoding'), null)
      assert.deepEqual([header('x-kept'), header('x-seen')], ['yes', '201 /a'])
    },
    { skip: encode === undefined },
  )
}

same('an interceptor can return a Buffer, and another type', async (api) => {
  await using target = await backend((_req, res) => void res.end('text'))
  const proxy = intercepting(api, target.url, async (_buffer, _proxyRes, _req, res) => {
    res.setHeader('content-type', 'image/png')
    res.statusCode = 202
    return Buffer.from([0xff, 0, 1])
  })
  await using front = await served(app(proxy))
  const response = await fetch(front.url)
  assert.equal(response.status, 202)
  assert.equal(response.headers.get('content-type'), 'image/png')
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), Buffer.from([0xff, 0, 1]))
})

same('responses to HEAD, 204 and 304 have no body, and no interceptor', async (api) => {
  await using target = await backend((req, res) => {
    res.setHeader('content-encoding', 'gzip')
    if (req.method === 'HEAD') res.setHeader('content-length', 100)
    else res.statusCode = Number(req.url?.slice(1))
    res.end()
  })
  let calls = 0
  const proxy = intercepting(api, target.url, async () => `${++calls}`)
  await using front = await served(app(proxy))
  assert.equal((await fetch(front.url, { method: 'HEAD' })).status, 200)
  assert.equal(await get(`${front.url}/204`), '204 ')
  assert.equal(await get(`${front.url}/304`), '304 ')
  assert.equal(calls, 0)
})

same('trailers are dropped: the response has a length', async (api) => {
  await using target = await mockBackend({ body: 'hello', headers: { Trailer: 'x-sum' }, trailers: { 'x-sum': '1' } })
  await using front = await served(app(intercepting(api, target.url, async (buffer) => buffer)))
  const response = await fetch(front.url)
  assert.equal(await response.text(), 'hello')
  assert.equal(response.headers.get('trailer'), null)
  assert.equal(response.headers.get('content-length'), '5')
})

test('the domain of cookies is removed', async () => {
  await using target = await backend((_req, res) => {
    res.setHeader('set-cookie', ['a=1; Domain=example.org; Path=/', 'b=2; domain=x.org', 'c=Domain=3; Secure'])
    res.end()
  })
  await using front = await served(app(intercepting(ours, target.url, async (buffer) => buffer)))
  const { headers } = await fetch(front.url)
  assert.deepEqual(headers.getSetCookie(), ['a=1; Path=/', 'b=2', 'c=Domain=3; Secure'])
})

test('deflate without the zlib wrapper is decoded, an empty body needs no decoding', async () => {
  await using target = await backend((req, res) => {
    res.setHeader('content-encoding', 'deflate')
    res.end(req.url === '/empty' ? undefined : zlib.deflateRawSync('hello'))
  })
  await using front = await served(app(intercepting(ours, target.url, async (buffer) => `<${buffer}>`)))
  assert.equal(await get(front.url), '200 <hello>')
  assert.equal(await get(`${front.url}/empty`), '200 <>')
})

test('a body in an unknown coding keeps its Content-Encoding', async () => {
  for (const coding of ['x-own', 'constructor']) {
    await using target = await mockBackend({ body: 'aaa', headers: { 'content-encoding': coding } })
    await using front = await served(app(intercepting(ours, target.url, async (buffer) => buffer)))
    const response = await fetch(front.url)
    assert.equal(response.headers.get('content-encoding'), coding)
    assert.equal(await response.text(), 'aaa')
  }
})

test('a response that cannot be decoded is 502', async () => {
  await using target = await mockBackend([
    { body: 'not gzip at all', headers: { 'content-encoding': 'gzip' } },
    { body: zlib.gzipSync('hello').subarray(0, 20), headers: { 'content-encoding': 'gzip' } },
  ])
  const logger = recordingLogger()
  const proxy = createProxyMiddleware({
    target: target.url,
    selfHandleResponse: true,
    logger,
    on: { proxyRes: responseInterceptor(async () => 'never') },
  })
  await using front = await served(app(proxy))
  assert.match(await get(front.url), /^502 Error occurred while trying to proxy/)
  assert.match(await get(front.url), /^502 Error occurred while trying to proxy/)
  const errors = logger.lines.filter((line) => line.startsWith('error: [HPM] Error occurred'))
  assert.equal(errors.length, 2)
  for (const line of errors) assert.match(line, / HPM_ERR_CONTENT_ENCODING /)
})

test('a response that is cut short is an error, and no interceptor sees it', async () => {
  for (const misbehaviour of [resetMidBody, cutMidBody, shortBody]) {
    await using target = await mockBackend(misbehaviour)
    let calls = 0
    await using front = await served(app(intercepting(ours, target.url, async () => `${++calls}`)))
    assert.match(await get(front.url), /^50[024] Error occurred while trying to proxy/)
    assert.equal(calls, 0)
  }
})

test('an interceptor that throws is 500, and the process goes on', async () => {
  await using target = await mockBackend({ body: 'hello', headers: { 'content-type': 'text/x' } })
  const proxy = intercepting(ours, target.url, async () => {
    throw new Error('mine')
  })
  await using front = await served(app(proxy))
  assert.match(await get(front.url), /^500 Error occurred while trying to proxy/)
})

test('a client that leaves while its response is collected is no error', async () => {
  await using target = await mockBackend((_request, reply) => {
    reply.head()
    reply.chunk('a')
  })
  const errors: unknown[] = []
  const proxy = createProxyMiddleware({
    target: target.url,
    selfHandleResponse: true,
    on: { proxyRes: responseInterceptor(async () => 'never'), error: (error) => void errors.push(error) },
  })
  await using front = await served(app(proxy))
  const controller = new AbortController()
  const asked = get(front.url, { signal: controller.signal })
  await target.nextRequest()
  controller.abort()
  await assert.rejects(asked)
  await target.untilOpenConnections(0)
  assert.deepEqual(errors, [])
})

test('an interceptor may respond by itself', async () => {
  await using target = await mockBackend({ body: 'hello' })
  const proxy = intercepting(ours, target.url, async (buffer, _proxyRes, _req, res) => {
    res.end('my own, and longer')
    return buffer
  })
  await using front = await served(app(proxy))
  assert.equal(await get(front.url), '200 my own, and longer')
})

test('without selfHandleResponse the error says what to do', async () => {
  await using target = await mockBackend({ body: 'hello' })
  const logger = recordingLogger()
  const on = { proxyRes: responseInterceptor(async (buffer) => buffer) }
  await using front = await served(app(createProxyMiddleware({ target: target.url, on, logger })))
  await get(front.url).catch(() => {})
  assert.match(
    logger.lines.join('\n'),
    /error: Error: \[HPM\] responseInterceptor\(\) needs the option selfHandleResponse: true/,
  )
})

test('headers of the connection to the target do not reach the client', async () => {
  await using target = await mockBackend({
    headers: ['Keep-Alive', 'timeout=5', 'X-Hop', 'secret', 'Connection', 'keep-alive, X-Hop', 'X-Kept', 'yes'],
    body: 'hello',
  })
  await using front = await served(app(intercepting(ours, target.url, async (buffer) => buffer)))
  // Ends only if the connection does.
  const { text, ending } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(text, /\r\nConnection: close\r\n/i)
  assert.match(text, /\r\nx-kept: yes\r\n/i)
  assert.doesNotMatch(text, /keep-alive|x-hop/i)
  assert.equal(ending, 'end')
})
