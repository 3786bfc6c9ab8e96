import assert from 'node:assert/strict'
import type { IncomingMessage, RequestListener } from 'node:http'
import { test } from 'node:test'
import { createProxy, type Middleware, ProxyError } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { consume, serve } from './serving.ts'

/** A connect-style host in a few lines; ends with 404, or with the error's code. */
function chain(...middlewares: readonly Middleware[]): RequestListener {
  return (req, res) => {
    const next =
      (index: number) =>
      (error?: unknown): void => {
        if (error !== undefined) res.writeHead(500).end(error instanceof ProxyError ? error.code : String(error))
        else if (middlewares[index] === undefined) res.writeHead(404).end('nobody')
        else middlewares[index](req, res, next(index + 1))
      }
    next(0)()
  }
}

test('middleware(): an unmatched request goes to the next handler', async () => {
  await using backend = await mockBackend()
  const proxy = createProxy({ target: backend.url, routes: [{ path: '/api' }, { host: '*.example.com' }] })
  const earlier: Middleware = (_req, res, next) => {
    res.setHeader('X-Earlier', '1')
    next()
  }
  await using front = await serve(chain(earlier, proxy.middleware()), proxy)
  const api = await fetch(`${front.url}/api/x`)
  assert.deepEqual([await api.text(), api.headers.get('x-earlier')], ['GET /api/x', '1'])
  const other = await fetch(`${front.url}/x`)
  assert.deepEqual([other.status, await other.text()], [404, 'nobody'])
})

test('middleware(): a body parsed earlier is sent to the backend', async () => {
  await using backend = await mockBackend()
  const proxy = createProxy({ target: backend.url })
  const parser: Middleware = (req: IncomingMessage & { body?: unknown }, _res, next) => {
    consume(req).then((text) => {
      req.body = text
      next()
    }, next)
  }
  await using front = await serve(chain(parser, proxy.middleware()), proxy)
  await fetch(front.url, { method: 'POST', body: 'hello' })
  assert.equal((await backend.nextRequest()).bodyText, 'hello')
})

test('middleware(): failures are passed on only with passErrors, and once', async () => {
  const proxy = createProxy({ target: (await deadPort()).url, retry: false, logger: 'silent' })
  await using ours = await serve(chain(proxy.middleware()), proxy)
  assert.equal((await fetch(ours.url)).status, 502)
  await using theirs = await serve(chain(proxy.middleware({ passErrors: true })), proxy)
  const response = await fetch(theirs.url)
  assert.deepEqual([response.status, await response.text()], [500, 'ERR_PROXY_CONNECT'])
})
