import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { io } from 'socket.io-client'
import { build, createLogger, createServer, type InlineConfig, type Logger, preview } from 'vite'
import { WebSocket } from 'ws'
import { type ProxyMiddlewareOptions, proxyPlugin } from '../../src/adapters/vite.ts'
import { createProxy, type Pool } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { mockPool } from '../../src/testing/mock-pool.ts'
import { http2Client } from '../fronts/http2/client.ts'
import { certificate, key } from '../support/certificates.ts'
import { gate } from '../support/running-proxy.ts'
import { consume, echo, echoBackend, refusalOf, socketIoBackend } from './serving.ts'

interface Running extends AsyncDisposable {
  readonly port: number
  readonly lines: readonly string[]
  close(): Promise<void>
}

/** A page of its own, built if it is to be previewed. */
async function root(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'heddle-vite-'))
  await writeFile(join(path, 'index.html'), '<title>the page</title><script type="module" src="/main.js"></script>')
  await writeFile(join(path, 'main.js'), 'export const main = 1')
  return { path, [Symbol.asyncDispose]: async () => rm(path, { recursive: true, force: true }) }
}

function recording(lines: string[]): Logger {
  const logger = createLogger('silent')
  const keep = (line: string): void => void lines.push(line)
  return { ...logger, info: keep, warn: keep, warnOnce: keep, error: keep }
}

async function run(
  kind: 'dev' | 'preview',
  path: string,
  options: ProxyMiddlewareOptions[],
  more: InlineConfig = {},
): Promise<Running> {
  const lines: string[] = []
  const config: InlineConfig = {
    root: path,
    configFile: false,
    customLogger: recording(lines),
    optimizeDeps: { noDiscovery: true },
    ...more,
    plugins: [...options.map(proxyPlugin), more.plugins],
    server: { port: 0, host: '127.0.0.1', watch: null, ...more.server },
    preview: { port: 0, host: '127.0.0.1', ...more.preview },
  }
  if (kind === 'preview') await build({ ...config, logLevel: 'silent' })
  const server = kind === 'dev' ? await (await createServer(config)).listen() : await preview(config)
  const address = server.httpServer?.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { port: address.port, lines, close: () => server.close(), [Symbol.asyncDispose]: () => server.close() }
}

/** A pool that says when it is closed. */
function closingPool(): { readonly pool: Pool; readonly closed: Promise<void>; isClosed(): boolean } {
  const closed = gate()
  let isClosed = false
  const pool = mockPool()
  const { close } = pool
  return {
    pool: Object.assign(pool, {
      close() {
        isClosed = true
        closed.open()
        return close.call(pool)
      },
    }),
    closed: closed.promise,
    isClosed: () => isClosed,
  }
}

const HTML = { headers: { accept: 'text/html' } }

for (const kind of ['dev', 'preview'] as const) {
  test(`${kind}: what routes match goes to the backend, and the rest to Vite`, async () => {
    await using page = await root()
    await using backend = await mockBackend()
    const routes = [{ path: '/api' }, { path: '/v1', stripPrefix: '/v1' }]
    await using front = await run(kind, page.path, [{ target: backend.url, routes }])
    const get = async (path: string): Promise<string> =>
      (await fetch(`http://127.0.0.1:${front.port}${path}`, HTML)).text()
    assert.equal(await get('/api/users?a=1'), 'GET /api/users?a=1')
    assert.equal(await get('/v1/users'), 'GET /users')
    assert.match(await get('/'), /the page/)
    // The fallback of single-page applications.
    assert.match(await get('/else'), /the page/)
    const posted = await fetch(`http://127.0.0.1:${front.port}/api`, { method: 'POST', body: 'hello' })
    assert.equal(posted.status, 200)
    assert.equal(backend.requests.at(-1)?.bodyText, 'hello')
  })

  test(`${kind}: a base, a catch-all route, and Vite's check of the host`, async () => {
    await using page = await root()
    await using backend = await mockBackend()
    await using front = await run(kind, page.path, [{ target: backend.url }], { base: '/app/' })
    const url = `http://127.0.0.1:${front.port}`
    assert.equal(await (await fetch(`${url}/app/x`, HTML)).text(), 'GET /app/x')
    const request = http.get(`${url}/x`, { headers: { host: 'evil.test' } })
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    assert.equal(response.statusCode, 403)
    await consume(response)
    // Vite's own listener of the dev server has 10 s to respond: a client of an evil page gets nothing until then.
    const headers = { host: 'evil.test', connection: 'upgrade', upgrade: 'websocket' }
    const socket = http.get(`${url}/x`, { headers, timeout: 500 }).on('error', () => {})
    const [refused] = await Promise.race([once(socket, 'response'), once(socket, 'timeout')])
    assert.equal((refused as IncomingMessage | undefined)?.statusCode, kind === 'dev' ? undefined : 403)
    socket.destroy()
    assert.equal(backend.requests.length, 1)
  })

  test(`${kind}: two plugins, WebSockets of both, and what nobody takes`, async () => {
    await using page = await root()
    await using one = await echoBackend()
    await using other = await echoBackend()
    await using front = await run(kind, page.path, [
      { target: one.url, routes: [{ path: '/one', stripPrefix: '/one' }] },
      { target: other.url, routes: [{ path: '/other' }] },
    ])
    const url = `ws://127.0.0.1:${front.port}`
    assert.equal(await echo(`${url}/one/chat`, 'hello'), '/chat: hello')
    assert.equal(await echo(`${url}/other`, 'hello'), '/other: hello')
    assert.deepEqual([one.connections, other.connections], [1, 1])
    // Vite's fallback, as for requests.
    if (kind === 'preview') assert.equal((await refusalOf(`${url}/else`))[0], 200)
  })

  test(`${kind}: socket.io`, async () => {
    await using page = await root()
    await using backend = await socketIoBackend('backend')
    await using front = await run(kind, page.path, [{ target: backend.url, routes: [{ path: '/socket.io' }] }])
    const client = io(`http://127.0.0.1:${front.port}`, { transports: ['websocket'] })
    assert.equal(await client.emitWithAck('say', 'hello'), 'backend hello')
    client.disconnect()
  })

  test(`${kind}: with https, HTTP/2 and HTTP/1.1, and WebSockets beside them`, async () => {
    await using page = await root()
    await using backend = await echoBackend()
    await using mock = await mockBackend()
    await using front = await run(
      kind,
      page.path,
      [
        { target: backend.url, routes: [{ path: '/ws' }] },
        { target: mock.url, routes: [{ path: '/api' }] },
      ],
      { server: { https: { cert: certificate, key } } },
    )
    await using client = http2Client(front.port, { rejectUnauthorized: false }, 'https')
    assert.equal((await client.ask({ ':path': '/api' })).body, 'GET /api')
    const agent = new https.Agent({ rejectUnauthorized: false })
    const request = https.get(`https://127.0.0.1:${front.port}/api`, { agent })
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    assert.equal(await consume(response), 'GET /api')
    const socket = new WebSocket(`wss://127.0.0.1:${front.port}/ws`, { rejectUnauthorized: false })
    await once(socket, 'open')
    socket.terminate()
    agent.destroy()
    assert.deepEqual(
      front.lines.filter((line) => line.includes('heddle')),
      [],
    )
  })

  test(`${kind}: failures are in Vite's log`, async () => {
    await using page = await root()
    await using front = await run(kind, page.path, [
      { target: (await deadPort()).url, retry: false, routes: [{ path: '/api' }] },
    ])
    assert.equal((await fetch(`http://127.0.0.1:${front.port}/api/x`)).status, 502)
    assert.match(front.lines.join('\n'), /\[heddle\] .*ECONNREFUSED.* \(GET \/api\/x\); check that the backend runs/)
  })

  test(`${kind}: closing the server closes the proxy, but not one that was given`, async () => {
    await using page = await root()
    const [own, shared] = [closingPool(), closingPool()]
    const proxy = createProxy({ target: 'http://127.0.0.1:1', pool: shared.pool, routes: [{ path: '/given' }] })
    const options = { target: 'http://127.0.0.1:1', pool: own.pool, routes: [{ path: '/own' }] }
    await using front = await run(kind, page.path, [options, { proxy }])
    await front.close()
    await own.closed
    assert.equal(shared.isClosed(), false)
    await proxy.close()
    assert.equal(shared.isClosed(), true)
  })
}

test("dev: Vite's hot reload keeps its WebSocket beside a catch-all route", async () => {
  await using page = await root()
  await using backend = await echoBackend()
  await using front = await run('dev', page.path, [{ target: backend.url }])
  const url = `ws://127.0.0.1:${front.port}`
  const ping = new WebSocket(url, 'vite-ping')
  await once(ping, 'open')
  ping.terminate()
  assert.equal(backend.connections, 0)
  assert.equal(await echo(`${url}/chat`, 'hello'), '/chat: hello')
})
