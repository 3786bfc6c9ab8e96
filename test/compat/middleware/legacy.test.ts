import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  createProxyMiddleware,
  type Logger,
  legacyCreateProxyMiddleware,
} from '../../../src/compat/middleware/index.ts'
import { deadPort } from '../../../src/testing/mock-backend.ts'
import { startScript } from '../../support/script.ts'
import { app, backend, get, recordingLogger, served } from './both.ts'

// The names of version 2 give a warning, which is tested in a process of its own.
process.noDeprecation = true

test('version 2: onProxyReq, onProxyRes and onError listen', async () => {
  await using target = await backend((req, res) => void res.end(`${req.headers['x-added']}`))
  const proxy = createProxyMiddleware({
    target: target.url,
    onProxyReq: (proxyReq) => void proxyReq.setHeader('x-added', 'here'),
    onProxyRes(proxyRes) {
      proxyRes.headers['x-added'] = 'back'
    },
  })
  await using front = await served(app(proxy))
  const response = await fetch(front.url)
  assert.equal(await response.text(), 'here')
  assert.equal(response.headers.get('x-added'), 'back')
  const { url } = await deadPort()
  const failing = createProxyMiddleware({
    target: url,
    logLevel: 'silent',
    onError(error, _req, res) {
      if ('writeHead' in res) res.writeHead(418)
      res.end(String((error as NodeJS.ErrnoException).code))
    },
  })
  await using other = await served(app(failing))
  assert.equal(await get(other.url), '418 ECONNREFUSED')
})

test('version 2: a filter as first argument, and the shorthand', async () => {
  await using target = await backend()
  for (const [proxy, path] of [
    [createProxyMiddleware('/api', { target: target.url }), '/api/a'],
    [createProxyMiddleware(['/api', '/ajax'], { target: target.url }), '/ajax/a'],
    [createProxyMiddleware(['/api/**', '!**/*.html'], { target: target.url }), '/api/a'],
    [createProxyMiddleware((pathname) => pathname === '/a', { target: target.url }), '/a'],
    [createProxyMiddleware(`${target.url}/api`), '/api/a'],
    [createProxyMiddleware(`${target.url}/api`, { pathRewrite: { '^/': '/' } }), '/api/a'],
  ] as const) {
    await using front = await served(app(proxy))
    assert.equal(await get(front.url + path), `200 GET ${path}`)
    assert.equal((await get(`${front.url}/else`)).slice(0, 3), '404')
  }
})

test('version 2: the mount path is sent, and pathRewrite and the filter see it', async () => {
  await using target = await backend()
  const onProxyReq = (): void => {}
  const application = app()
  application.use('/a', createProxyMiddleware({ target: target.url, onProxyReq }))
  application.use('/b', createProxyMiddleware({ target: target.url, onProxyReq, pathRewrite: { '^/b': '/c' } }))
  application.use('/d', createProxyMiddleware('/d/e', { target: target.url }))
  application.use('/f', legacyCreateProxyMiddleware({ target: target.url }))
  // An old name beside new ones is left over.
  application.use('/g', createProxyMiddleware({ target: target.url, logLevel: 'debug', on: {} }))
  application.use('/h', createProxyMiddleware({ target: target.url }))
  application.use((req, res) => void res.send(`next ${req.url}`))
  await using front = await served(application)
  assert.equal(await get(`${front.url}/a/1`), '200 GET /a/1')
  assert.equal(await get(`${front.url}/b/1`), '200 GET /c/1')
  assert.equal(await get(`${front.url}/d/e/1`), '200 GET /d/e/1')
  assert.equal(await get(`${front.url}/d/1`), '200 next /d/1')
  assert.equal(await get(`${front.url}/f/1`), '200 GET /f/1')
  assert.equal(await get(`${front.url}/g/1`), '200 GET /1')
  assert.equal(await get(`${front.url}/h/1`), '200 GET /1')
})

test('version 2: logLevel and logProvider', async () => {
  await using target = await backend()
  const { url: dead } = await deadPort()
  for (const [logLevel, expected] of [
    ['debug', ['debug', 'error']],
    ['info', ['error']],
    [undefined, ['error']],
    ['error', ['error']],
    ['silent', []],
  ] as const) {
    const { lines, ...logger } = recordingLogger()
    const debug = (text: string): void => void lines.push(`debug: ${text}`)
    const logProvider = (): Logger => Object.assign(logger, { debug })
    for (const url of [target.url, dead]) {
      const proxy = createProxyMiddleware({ target: url, logProvider, ...(logLevel && { logLevel }) })
      await using front = await served(app(proxy))
      await get(front.url)
    }
    assert.deepEqual(
      lines.map((line) => line.split(':')[0]),
      expected,
      logLevel,
    )
  }
})

test('version 2: `on` wins over the old name of the same event', async () => {
  await using target = await backend()
  const seen: string[] = []
  const proxy = createProxyMiddleware({
    target: target.url,
    onProxyReq: () => void seen.push('old'),
    onProxyRes: () => void seen.push('old response'),
    on: { proxyReq: () => void seen.push('new') },
  })
  await using front = await served(app(proxy))
  await get(front.url)
  assert.deepEqual(seen, ['new', 'old response'])
})

test('version 2: one warning for a process, which says the new names', async (t) => {
  const code = `
    import { createProxyMiddleware } from 'heddle/middleware'
    const target = 'http://127.0.0.1'
    createProxyMiddleware({ target, on: {} })
    createProxyMiddleware('/api', { target, onError() {}, logLevel: 'debug' })
    createProxyMiddleware({ target, onProxyReq() {} })
  `
  const { code: status, stderr } = await startScript(t, ['--input-type=module', '--eval', code]).exit()
  assert.equal(status, 0, stderr)
  assert.equal(stderr.match(/HEDDLE_MIDDLEWARE_V2/g)?.length, 1, stderr)
  const names = '(filter, options) (now { pathFilter, ...options }), onError (now on.error), logLevel (now logger)'
  assert.ok(stderr.includes(`${names}. As in version 2, the mount path`), stderr)
})
