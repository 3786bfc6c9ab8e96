import assert from 'node:assert/strict'
import http from 'node:http'
import type { Options } from '../../../src/compat/middleware/types.ts'
import { app, appWithErrors, backend, get, same, served } from './both.ts'

const answering = (text: string) => backend((req, res) => void res.end(`${text} ${req.url}`))

same('a router table is compared with host, host and path, or path; the first match counts', async (api) => {
  await using byHost = await answering('host')
  await using byBoth = await answering('both')
  await using byPath = await answering('path')
  await using byDefault = await answering('default')
  const proxy = api.createProxyMiddleware({
    target: byDefault.url,
    router: {
      'a.test:80/api': byBoth.url,
      'a.test:80': byHost.url,
      '/rest': byPath.url,
      '/rest/more': byDefault.url,
    },
  })
  await using front = await served(app(proxy))
  const ask = (host: string, path: string) =>
    new Promise<string>((resolve) => {
      http.get({ port: front.port, path, headers: { host }, agent: false }, async (res) => {
        let text = ''
        for await (const chunk of res) text += chunk
        resolve(text)
      })
    })
  assert.equal(await ask('a.test:80', '/api/1'), 'both /api/1')
  assert.equal(await ask('a.test:80', '/x/api'), 'host /x/api')
  assert.equal(await ask('b.test', '/rest/more'), 'path /rest/more')
  assert.equal(await ask('b.test', '/x/rest'), 'default /x/rest')
  // Neither a part of a host, nor a host in the path.
  assert.equal(await ask('xa.test:80', '/a.test:80/api'), 'default /a.test:80/api')
})

for (const [name, asRouter] of [
  ['a function', (target: string) => () => target],
  ['an async function', (target: string) => async () => target],
  ['a URL', (target: string) => () => new URL(target)],
  [
    'an object',
    (target: string) => () => {
      const { hostname: host, port, protocol } = new URL(target)
      return { host, port: Number(port), protocol }
    },
  ],
] as const) {
  same(`router: ${name}`, async (api) => {
    await using target = await backend()
    const router = asRouter(target.url) as NonNullable<Options['router']>
    await using front = await served(app(api.createProxyMiddleware({ target: 'http://127.0.0.1:1', router })))
    assert.equal(await get(`${front.url}/a`), '200 GET /a')
  })
}

same('a router sees the path before pathRewrite, and can change the options of its request', async (api) => {
  await using target = await backend((req, res) => void res.end(`${req.url} ${req.headers['x-from']}`))
  const paths: unknown[] = []
  const proxy = api.createProxyMiddleware({
    target: target.url,
    pathRewrite: { '^/a': '/b' },
    router(req, res, options) {
      paths.push(req.url, res?.headersSent)
      if (req.url === '/a/1') options.headers = { 'x-from': 'router' }
      return undefined
    },
  })
  await using front = await served(app(proxy))
  assert.equal(await get(`${front.url}/a/1`), '200 /b/1 router')
  assert.equal(await get(`${front.url}/a/2`), '200 /b/2 undefined')
  assert.deepEqual(paths, ['/a/1', false, '/a/2', false])
})

same('without a target, or if the router fails, the next middleware gets the error', async (api) => {
  for (const [router, message] of [
    [() => undefined, 'Must provide a proper URL as target'],
    [() => Promise.reject(new Error('mine')), 'mine'],
    [
      () => {
        throw new Error('mine')
      },
      'mine',
    ],
  ] as const) {
    const proxy = api.createProxyMiddleware({ changeOrigin: true, router })
    await using front = await served(appWithErrors(proxy))
    assert.equal(await get(front.url), `599 handled: ${message}`)
  }
})

same('neither target nor router is an error when the middleware is made', (api) => {
  for (const options of [{}, { changeOrigin: true }, { forward: 'http://127.0.0.1' }] as Options[]) {
    assert.throws(() => api.createProxyMiddleware(options), {
      name: 'HttpProxyMiddlewareError',
      code: 'ERR_CONFIG_FACTORY_TARGET_MISSING',
      message: '[HPM] Missing "target" option. Example: {target: "http://www.example.org"}',
    })
  }
})

same('[::] as a target means loopback', async (api) => {
  await using target = await served((req, res) => void res.end(`${req.url}`))
  await new Promise<void>((resolve) => target.server.close(() => resolve()))
  await new Promise<void>((resolve) => target.server.listen(0, '::1', resolve))
  const { port } = target.server.address() as { port: number }
  for (const url of [`http://[::]:${port}`, `http://[::1]:${port}/base`]) {
    await using front = await served(app(api.createProxyMiddleware({ target: url })))
    assert.equal(await get(`${front.url}/a`), url.endsWith('base') ? '200 /base/a' : '200 /a')
  }
})

same('a unix socket as a target', async (api) => {
  await using target = await served((req, res) => void res.end(`${req.url}`))
  await new Promise<void>((resolve) => target.server.close(() => resolve()))
  const socketPath = `${process.cwd()}/unix-${process.pid}.sock`
  await new Promise<void>((resolve) => target.server.listen(socketPath, resolve))
  const proxy = api.createProxyMiddleware({ target: { socketPath } as never })
  await using front = await served(app(proxy))
  assert.equal(await get(`${front.url}/a`), '200 /a')
})
