import assert from 'node:assert/strict'
import http, { type IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { createProxyMiddleware } from '../../../src/compat/middleware/index.ts'
import type { Filter, PathRewriteConfig } from '../../../src/compat/middleware/types.ts'
import { rawClient } from '../../support/raw-client.ts'
import { app, backend, get, recordingLogger, same, served } from './both.ts'

/** Paths that a filter takes, of those given. */
const FILTERS: readonly [filter: Filter | undefined, taken: string[], left: string[]][] = [
  [undefined, ['/', '/a'], []],
  ['/', ['/', '/a'], []],
  ['/api', ['/api', '/api/a?b=c', '/apix', '/x/../api'], ['/', '/foo/api', '/a?/api', '/api/../x']],
  ['api', [], ['/api']],
  [['/api', '/ajax'], ['/api/a', '/ajax/a'], ['/rest']],
  [[], [], ['/', '/api']],
  ['**', ['/', '/api/foo/bar.html'], []],
  ['/api/**', ['/api/foo/bar.html'], ['/ajax/foo', '/']],
  ['**/foo/**', ['/api/foo/bar.html'], ['/api/bar']],
  ['/**/*.*', ['/a/b.c'], ['/a/b', '/b.c']],
  ['/*.html', ['/index.html'], ['/some/path/index.html', '/a.htm']],
  ['/**/*.php', ['/a/b/c.php?d=e'], ['/a/b/c.phps']],
  ['/**/*.php?*', [], ['/a/b/c.php?d=e']],
  ['!**/*.html', ['/a.json'], ['/a/b.html']],
  [['/api/**', '/ajax/**'], ['/api/a.json', '/ajax/a.json'], ['/rest/a.json']],
  [['**', '!**/*.html'], ['/a.json', '/'], ['/a/b.html']],
  [['!**/*.html', '**'], ['/a.json', '/a/b.html'], []],
  [['!**/*.html', '!**/*.json'], ['/a.png'], ['/a.html', '/a.json']],
  ['/api/{a,b}/*', ['/api/a/1', '/api/b/2'], ['/api/c/3', '/api/{a,b}/1']],
  ['/(a|b)/*', ['/a/1'], ['/c/1']],
  ['/[ab]/x', ['/a/x'], ['/c/x']],
  ['/+(a|b)', ['/a', '/ab'], ['/c']],
  ['/!(a)', ['/b'], ['/a']],
  ['/a?', [], ['/ab', '/a?b']],
  [(path, req) => path === '/yes' && req.method === 'GET', ['/yes?a'], ['/no']],
  [(path) => path.match('^/yes'), ['/yes'], ['/no']],
  [() => '', [], ['/']],
]

for (const [filter, taken, left] of FILTERS) {
  same(`pathFilter ${filter === undefined ? 'undefined' : String(filter)}`, async (api) => {
    await using target = await backend()
    const proxy = api.createProxyMiddleware({ target: target.url, ...(filter !== undefined && { pathFilter: filter }) })
    await using front = await served(app(proxy))
    for (const path of taken) assert.equal((await asIs(front.port, path)).statusCode, 200, path)
    for (const path of left) assert.equal((await asIs(front.port, path)).statusCode, 404, path)
  })
}

/** Asks for a path without a client's reading of it. */
function asIs(port: number, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    http.get({ port, path, agent: false }, (res) => resolve(res.resume())).on('error', reject)
  })
}

same('a filter that throws is logged, and leaves the request to the next middleware', async (api) => {
  const logger = recordingLogger()
  const proxy = api.createProxyMiddleware({
    target: 'http://127.0.0.1:1',
    pathFilter() {
      throw new Error('mine')
    },
    logger,
  })
  await using front = await served(app(proxy))
  assert.equal((await get(front.url)).slice(0, 4), '404 ')
  assert.deepEqual(logger.lines, ['error: Error: mine'])
})

test('an invalid filter is an error when the middleware is made', () => {
  const make = (pathFilter: unknown) => () =>
    createProxyMiddleware({ target: 'http://127.0.0.1', pathFilter: pathFilter as Filter })
  for (const filter of [null, 123, {}, ['/a', 1]]) {
    assert.throws(make(filter), { name: 'HttpProxyMiddlewareError', code: 'HPM_INVALID_PATH_FILTER_CONFIG' })
  }
  assert.throws(make(['/api', '!*.html']), {
    code: 'HPM_INVALID_PATH_FILTER_ARRAY_CONFIG',
    message: /^\[HPM\] Invalid pathFilter\. Plain paths .* can not be mixed with globs/,
  })
})

test('//host/path is a path to the filter, as it is to the target', async () => {
  await using target = await backend()
  await using front = await served(app(createProxyMiddleware({ target: target.url, pathFilter: '/api' })))
  assert.equal((await asIs(front.port, '//evil.test/api')).statusCode, 404)
})

const REWRITES: readonly [rules: PathRewriteConfig, from: string, to: string][] = [
  [{ '^/api': '/rest' }, '/api/a?b=c', '/rest/a?b=c'],
  [{ '^/api': '' }, '/api/a', '/a'],
  [{ '^/': '/base/' }, '/a', '/base/a'],
  [{ '^/api/': '' }, '/api/a/b?c', '/a/b?c'],
  [{ '^/api': '' }, '/api?b', '/?b'],
  [() => '', '/api', '/'],
  [{ '^/(\\w+)/(\\w+)': '/$2/$1' }, '/a/b?c', '/b/a?c'],
  // Only the first one that matches.
  [{ '^/a': '/b', '^/b': '/c' }, '/a', '/b'],
  [{ '^/x': '/y' }, '/a', '/a'],
  [{}, '/a', '/a'],
  [(path) => path.replace('/api', '/base'), '/api/a', '/base/a'],
  [async (path) => `${path}&more`, '/a?b', '/a?b&more'],
  [() => undefined, '/a', '/a'],
  [async () => undefined, '/a', '/a'],
]

for (const [rules, from, to] of REWRITES) {
  same(`pathRewrite ${typeof rules === 'function' ? rules : JSON.stringify(rules)}: ${from}`, async (api) => {
    await using target = await backend()
    await using front = await served(app(api.createProxyMiddleware({ target: target.url, pathRewrite: rules })))
    assert.equal(await get(front.url + from), `200 GET ${to}`)
  })
}

same('pathRewrite gets the request, the response and options with the routed target', async (api) => {
  await using target = await backend()
  const seen: unknown[] = []
  const proxy = api.createProxyMiddleware({
    router: () => target.url,
    pathRewrite(path, req, res, options) {
      seen.push(path, req.url, typeof res?.writeHead, options?.target)
      return '/new'
    },
  })
  await using front = await served((req, res) => void proxy(req, res).then(() => seen.push(req.url)))
  assert.equal(await get(`${front.url}/old`), '200 GET /new')
  assert.deepEqual(seen.slice(0, 4), ['/old', '/old', 'function', target.url])
})

same('an error of pathRewrite goes to the next middleware', async (api) => {
  const proxy = api.createProxyMiddleware({
    target: 'http://127.0.0.1:1',
    pathRewrite: async () => {
      throw new Error('mine')
    },
  })
  const seen: unknown[] = []
  await using front = await served((req, res) => void proxy(req, res, (error) => res.end(String(seen.push(error)))))
  await get(front.url)
  assert.match(String(seen[0]), /mine/)
})

same('another type of pathRewrite is an error when the middleware is made', (api) => {
  for (const pathRewrite of ['/a', [], 1, new Map()]) {
    assert.throws(
      () =>
        api.createProxyMiddleware({
          target: 'http://127.0.0.1',
          pathRewrite: pathRewrite as unknown as PathRewriteConfig,
        }),
      { code: 'HPM_INVALID_PATH_REWRITER_CONFIG', message: /^\[HPM\] Invalid pathRewrite config/ },
    )
  }
})

same('the mount path of Express is not sent, the path of the target is', async (api) => {
  await using target = await backend()
  const application = app()
  application.use('/api', api.createProxyMiddleware({ target: `${target.url}/base` }))
  await using front = await served(application)
  assert.equal(await get(`${front.url}/api/a?b`), '200 GET /base/a?b')
})

same('targets that are no URLs go to the next middleware', async (api) => {
  const proxy = api.createProxyMiddleware({ target: 'http://127.0.0.1:1', pathFilter: ['/api/**', '!**/*.html'] })
  await using front = await served(
    (req, res) => void proxy(req, res, () => void res.writeHead(404, { connection: 'close' }).end()),
  )
  for (const target of ['//', 'http://[', 'http://x:99999999/api/a', '*', '/\\', '/%', `/${'('.repeat(5000)}`]) {
    const client = rawClient(front.port)
    client.write(`OPTIONS ${target} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await client.ended
    assert.match(client.text, /^HTTP\/1\.1 404 /, target)
  }
})

test('a path of more than 2048 characters matches no glob', async () => {
  await using target = await backend()
  for (const [pathFilter, length, status] of [
    ['**/*.html', 2048, 200],
    ['**/*.html', 2049, 404],
    [['**', '!/secret/**'], 2049, 404],
    ['/aaa', 5000, 200],
  ] as const) {
    const filter = pathFilter as Filter
    await using front = await served(app(createProxyMiddleware({ target: target.url, pathFilter: filter })))
    const path = `/${'a'.repeat(length - '/.html'.length)}.html`
    assert.equal((await asIs(front.port, path)).statusCode, status)
  }
})
