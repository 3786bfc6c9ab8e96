import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { createProxyMiddleware, definePlugin } from '../../../src/compat/middleware/index.ts'
import { resetMidBody, resetOnRequest } from '../../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../../src/testing/mock-backend.ts'
import { app, appWithErrors, backend, get, recordingLogger, same, served } from './both.ts'

same('on: the events of a request, in their order', async (api) => {
  await using target = await backend((req, res) => {
    res.setHeader('x-removed', 'yes')
    res.end(`${req.url} ${req.headers['x-added']}`)
  })
  const events: string[] = []
  const proxy = api.createProxyMiddleware({
    target: target.url,
    on: {
      start: (req, res, to) => void events.push(`start ${req.url} ${typeof res.end} ${new URL(String(to)).origin}`),
      proxyReq(proxyReq, req, _res, options) {
        events.push(`proxyReq ${proxyReq.method} ${proxyReq.path} ${req.url} ${new URL(String(options.target)).origin}`)
        proxyReq.setHeader('x-added', 'here')
      },
      proxyRes(proxyRes, req) {
        events.push(`proxyRes ${proxyRes.statusCode} ${req.url}`)
        proxyRes.headers['x-added'] = 'back'
        delete proxyRes.headers['x-removed']
      },
      end: (req, _res, proxyRes) => void events.push(`end ${req.url} ${proxyRes.statusCode}`),
      error: (error) => void events.push(`error ${error.message}`),
    },
  })
  await using front = await served(app(proxy))
  const response = await fetch(`${front.url}/a?b`)
  assert.equal(await response.text(), '/a?b here')
  assert.equal(response.headers.get('x-added'), 'back')
  assert.equal(response.headers.get('x-removed'), null)
  assert.deepEqual(events, [
    `start /a?b function ${target.url}`,
    `proxyReq GET /a?b /a?b ${target.url}`,
    'proxyRes 200 /a?b',
    'end /a?b 200',
  ])
})

same('errors: 504 for a backend that is not there or resets, with the text of the original', async (api) => {
  await using resetting = await mockBackend(resetOnRequest)
  for (const target of [(await deadPort()).url, resetting.url]) {
    await using front = await served(app(api.createProxyMiddleware({ target, logger: recordingLogger() })))
    const { host } = new URL(front.url)
    assert.equal(await get(`${front.url}/a`), `504 Error occurred while trying to proxy: ${host}/a`)
  }
})

same('errors: markup in the URL is escaped', async (api) => {
  await using front = await served(
    app(api.createProxyMiddleware({ target: (await deadPort()).url, logger: recordingLogger() })),
  )
  const response = await new Promise<string>((resolve) => {
    http.get({ port: front.port, path: '/<b>', headers: { host: 'x' }, agent: false }, async (res) => {
      let text = ''
      for await (const chunk of res) text += chunk
      resolve(text)
    })
  })
  assert.equal(response, 'Error occurred while trying to proxy: x/%3Cb%3E')
})

same('on.error responds in place of the default, and the next middleware is not called', async (api) => {
  const { url: target } = await deadPort()
  const seen: unknown[] = []
  const proxy = api.createProxyMiddleware({
    target,
    on: {
      error(error, req, res, to) {
        seen.push((error as NodeJS.ErrnoException).code, req.url, new URL(String(to)).port)
        if ('writeHead' in res) res.writeHead(418)
        res.end('teapot')
      },
    },
  })
  await using front = await served(appWithErrors(proxy))
  assert.equal(await get(`${front.url}/a`), '418 teapot')
  assert.deepEqual(seen, ['ECONNREFUSED', '/a', new URL(target).port])
})

same('plugins get the proxy and the options, after the default ones', async (api) => {
  await using target = await backend()
  const seen: unknown[] = []
  const options = {
    target: target.url,
    on: { proxyReq: () => void seen.push('on') },
    plugins: [
      api.definePlugin((proxy, given) => {
        seen.push(given === options)
        proxy.on('proxyReq', (proxyReq, req) => void seen.push(`plugin ${req.url} ${proxyReq.path}`))
        proxy.on('proxyRes', (proxyRes) => void seen.push(proxyRes.statusCode))
      }),
    ],
  }
  await using front = await served(app(api.createProxyMiddleware(options)))
  assert.equal(await get(`${front.url}/a`), '200 GET /a')
  assert.deepEqual(seen, [true, 'on', 'plugin /a /a', 200])
})

same('ejectPlugins leaves out `on`; the default plugins can be given', async (api) => {
  await using target = await backend()
  const seen: string[] = []
  const on = { proxyReq: () => void seen.push('on') }
  const error = api.definePlugin((proxy) => void proxy.on('error', () => {}))
  const { debugProxyErrorsPlugin, errorResponsePlugin, loggerPlugin, proxyEventsPlugin } = api
  const all = [debugProxyErrorsPlugin, loggerPlugin, errorResponsePlugin, proxyEventsPlugin]
  for (const [plugins, expected] of [
    [[error], []],
    [all, ['on']],
  ] as const) {
    seen.length = 0
    const proxy = api.createProxyMiddleware({ target: target.url, on, ejectPlugins: true, plugins: [...plugins] })
    await using front = await served(app(proxy))
    assert.equal(await get(`${front.url}/a`), '200 GET /a')
    assert.deepEqual(seen, expected)
  }
  const { url: dead } = await deadPort()
  await using failing = await served(
    app(api.createProxyMiddleware({ target: dead, ejectPlugins: true, plugins: [...all] })),
  )
  assert.match(await get(failing.url), /^504 Error occurred/)
})

test('with ejectPlugins and no listener, errors go to the next middleware', async () => {
  const { url: target } = await deadPort()
  await using front = await served(appWithErrors(createProxyMiddleware({ target, ejectPlugins: true })))
  assert.match(await get(front.url), /^599 handled: .*ECONNREFUSED/)
  const alone = createProxyMiddleware({ target, ejectPlugins: true })
  await using server = await served((req, res) => void alone(req, res))
  assert.match(await get(server.url), /^504 Error occurred/)
})

same('logger: a line for each response', async (api) => {
  await using target = await backend()
  const logger = recordingLogger()
  const proxy = api.createProxyMiddleware({ router: () => target.url, pathRewrite: { '^/a': '/b' }, logger })
  const application = app()
  application.use('/api', proxy)
  await using front = await served(application)
  await get(`${front.url}/api/a?c=d`)
  assert.deepEqual(logger.lines, [`info: [HPM] GET /api/a?c=d -> ${target.url}/b?c=d [200]`])
})

same('logger: a line for each error', async (api) => {
  const { url: target } = await deadPort()
  const logger = recordingLogger()
  await using front = await served(app(api.createProxyMiddleware({ target, logger })))
  await get(`${front.url}/a`)
  const format = 'error: [HPM] Error occurred while proxying request %s to %s [%s] (%s)'
  const { host } = new URL(front.url)
  assert.deepEqual(
    logger.lines.map((line) => line.replace(/ https:\/\/nodejs.org.*/, '')),
    [`${format} ${host}/a ${target}/ ECONNREFUSED`],
  )
})

test('without a logger and listeners, nothing listens to requests or responses', () => {
  const counts: Record<string, number> = {}
  const count = definePlugin((proxy) => {
    for (const event of ['start', 'proxyReq', 'proxyRes', 'proxyReqWs', 'open', 'close', 'end', 'econnreset'] as const)
      counts[event] = proxy.listenerCount(event)
  })
  createProxyMiddleware({ target: 'http://127.0.0.1', plugins: [count] })
  assert.deepEqual(new Set(Object.values(counts)), new Set([0]))
})

test('a promise of a listener that rejects is an error of the request', async () => {
  await using target = await backend()
  const logger = recordingLogger()
  const proxy = createProxyMiddleware({
    target: target.url,
    selfHandleResponse: true,
    logger,
    on: {
      proxyRes: async () => {
        throw new Error('mine')
      },
    },
  })
  await using front = await served(app(proxy))
  assert.match(await get(front.url), /^500 Error occurred while trying to proxy/)
  assert.match(logger.lines.join('\n'), /mine/)
})

test('a promise of on.error that rejects is logged, and responded to', async () => {
  const logger = recordingLogger()
  const { url } = await deadPort()
  const proxy = createProxyMiddleware({
    target: url,
    logger,
    on: {
      error: (async (_error: Error, req: http.IncomingMessage, res: http.ServerResponse) => {
        if (req.url === '/handled') res.end('handled')
        throw new Error('mine')
      }) as never,
    },
  })
  await using front = await served(app(proxy))
  assert.equal(await get(`${front.url}/handled`), '200 handled')
  assert.match(await get(front.url), /^504 Error occurred/)
  assert.ok(logger.lines.includes('error: Error: mine'))
})

test('a response that is cut short is seen as such', async () => {
  await using target = await mockBackend(resetMidBody)
  await using front = await served(app(createProxyMiddleware({ target: target.url, logger: recordingLogger() })))
  await assert.rejects(get(front.url))
})

same('a client that leaves ends the request at the backend', async (api) => {
  await using target = await mockBackend((_request, reply) => {
    reply.head({ headers: { 'content-type': 'text/event-stream' } })
    reply.chunk('data: 1\n\n')
  })
  await using front = await served(app(api.createProxyMiddleware({ target: target.url })))
  const controller = new AbortController()
  const response = await fetch(front.url, { signal: controller.signal })
  await response.body?.getReader().read()
  controller.abort()
  await target.untilOpenConnections(0)
})

same('the promise of the middleware resolves when the response is over', async (api) => {
  await using target = await backend()
  const proxy = api.createProxyMiddleware({ target: target.url })
  const ended: Promise<boolean>[] = []
  await using front = await served((req, res) => void ended.push(proxy(req, res).then(() => res.writableFinished)))
  await get(front.url)
  assert.deepEqual(await Promise.all(ended), [true])
})

same('a middleware outlives the servers that use it', async (api) => {
  await using target = await backend()
  const proxy = api.createProxyMiddleware({ target: target.url })
  for (let i = 0; i < 3; i++) {
    await using front = await served(app(proxy))
    assert.equal(await get(`${front.url}/${i}`), `200 GET /${i}`)
    assert.ok(front)
  }
})

same('the proxy closes with the last server that has used the middleware', async (api) => {
  await using target = await mockBackend()
  let closed = 0
  const watched = api.definePlugin((proxy) => {
    const close = proxy.close.bind(proxy)
    const counting = (): void => {
      closed++
      close()
    }
    Object.assign(proxy, { close: counting })
  })
  const proxy = api.createProxyMiddleware({ target: target.url, plugins: [watched] })
  await using one = await served(app(proxy))
  await using two = await served(app(proxy))
  for (const url of [one.url, two.url, two.url]) await get(url, { headers: { connection: 'close' } })
  for (const [front, expected] of [
    [one, 0],
    [two, 1],
  ] as const) {
    const ended = once(front.server, 'close')
    front.server.close()
    await ended
    assert.equal(closed, expected)
  }
})

test('the connections to the target end with the last server', async () => {
  await using target = await mockBackend()
  const front = await served(app(createProxyMiddleware({ target: target.url })))
  await get(front.url)
  await target.untilOpenConnections(1)
  await front[Symbol.asyncDispose]()
  await target.untilOpenConnections(0)
})

same('QUERY, with a body, and other methods', async (api) => {
  await using target = await backend()
  await using front = await served(app(api.createProxyMiddleware({ target: target.url, pathRewrite: { '^/a': '/b' } })))
  for (const method of ['QUERY', 'PATCH', 'DELETE', 'PROPFIND']) {
    assert.equal(await get(`${front.url}/a?c=d+e%2Ff`, { method, body: 'hello' }), `200 ${method} /b?c=d+e%2Ff hello`)
  }
})

same('a server of HTTP/2', async (api) => {
  await using target = await backend()
  const proxy = api.createProxyMiddleware({ target: target.url }) as unknown as (req: object, res: object) => void
  const server = http2.createServer((req, res) => proxy(req, res))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const request = client.request({ ':method': 'POST', ':path': '/a?b' }).end('hello')
  const [headers] = await once(request, 'response')
  let text = ''
  for await (const chunk of request) text += chunk
  client.close()
  server.close()
  assert.equal(`${headers[':status']} ${text}`, '200 POST /a?b hello')
})
