import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import http from 'node:http'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { firstAvailable } from '../../src/balancers/index.ts'
import { createProxy, type ProxyEvents, type ProxyOptions } from '../../src/index.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { deadPort, mockBackend } from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { rawClient } from '../support/raw-client.ts'
import { listening, runInServer } from '../support/running-proxy.ts'

/** What ran in another context than that of its request; the name of what ran for what ran in its own. */
interface Seen {
  readonly wrong: Set<string>
  readonly right: Set<string>
}

const EVENTS = ['request', 'attempt', 'retry', 'response', 'upgrade', 'error', 'finish'] as const

/** An application whose every request has a context of its own, its target, and that looks in which one everything runs. */
async function application(options: ProxyOptions, seen: Seen) {
  const context = new AsyncLocalStorage<string>()
  const note = (what: string, target: string): void => {
    const store = context.getStore()
    if (store === target) seen.right.add(what)
    else seen.wrong.add(`${what} of ${target} ran in ${store}`)
  }
  const balancer = firstAvailable()
  const proxy = createProxy({
    logger: 'silent',
    drainTimeoutMs: 100,
    healthCheck: false,
    balancer: {
      name: 'looks',
      pick: (backends, exchange) => {
        note('pick', exchange.target)
        return balancer.pick(backends, exchange)
      },
      onStart: (_backend, exchange) => note('onStart', exchange.target),
    },
    routes: [
      {
        transforms: [
          {
            name: 'looks',
            request: (_request, exchange) => note('transform.request', exchange.target),
            response: (_response, exchange) => note('transform.response', exchange.target),
          },
        ],
      },
    ],
    ...options,
  })
  for (const event of EVENTS) {
    const listener = (...args: readonly unknown[]): void => {
      const exchange = args.find((arg) => typeof arg === 'object' && arg !== null && 'target' in arg && 'signal' in arg)
      note(`event ${event}`, (exchange as { target: string }).target)
    }
    proxy.on(event, listener as ProxyEvents[typeof event])
  }
  const server = http.createServer((req, res) => {
    const { url = '' } = req
    context.run(url, () => {
      res.on('finish', () => note("res 'finish'", url))
      const onError = (): void => {
        note('onError', url)
        res.writeHead(599).end()
      }
      if (url.startsWith('/own')) proxy.web(req, res, { onError })
      else proxy.web(req, res)
    })
  })
  server.on('upgrade', (req, socket, head) => context.run(req.url ?? '', () => proxy.ws(req, socket, head)))
  const port = await listening(server)
  return {
    proxy,
    context,
    port,
    async [Symbol.asyncDispose]() {
      server.close()
      await proxy.close()
      server.closeAllConnections()
    },
  }
}

test('what a request causes runs in its async context, whoever opened the backend connection', async () => {
  const seen: Seen = { wrong: new Set(), right: new Set() }
  await using backend = await mockBackend(async (request, reply) => {
    if (request.path.startsWith('/own/cut')) return reply.reset()
    const body = await request.body()
    reply.send({ body: body.length > 0 ? body : 'x'.repeat(100_000) })
  })
  await using app = await application({ target: backend.url, retry: { maxRetries: 2, baseDelayMs: 5 } }, seen)
  for (const round of ['a', 'b', 'c']) {
    // At once, so that several end in the same turn.
    const answers = ['/1', '/2', '/3', '/own/cut', '/own/4'].map(async (path) => {
      const init = path === '/2' ? { method: 'POST', body: 'some' } : {}
      return (await fetch(`http://127.0.0.1:${app.port}${path}?${round}`, init)).arrayBuffer()
    })
    await Promise.allSettled(answers)
  }
  const client = rawClient(app.port)
  client.write('GET /p1 HTTP/1.1\r\nHost: a\r\n\r\nGET /p2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await client.ended
  assert.deepEqual(Array.from(seen.wrong), [])
  for (const what of ['transform.request', 'transform.response', 'pick', 'onStart', 'onError', "res 'finish'"]) {
    assert.ok(seen.right.has(what), what)
  }
  for (const event of ['request', 'attempt', 'response', 'error', 'finish']) assert.ok(seen.right.has(`event ${event}`))
})

test('an attempt that a timer begins, and one that it ends, run in the context of their request', async () => {
  const seen: Seen = { wrong: new Set(), right: new Set() }
  const dead = await deadPort()
  await using silent = await mockBackend(() => new Promise(() => {}))
  await using app = await application(
    {
      backends: [dead.url, silent.url],
      retry: { maxRetries: 3, baseDelayMs: 5 },
      timeouts: { headers: 50 },
    },
    seen,
  )
  const answers = ['/own/1', '/own/2', '/own/3'].map(
    async (path) => (await fetch(`http://127.0.0.1:${app.port}${path}`)).status,
  )
  assert.deepEqual(await Promise.all(answers), [599, 599, 599])
  assert.deepEqual(Array.from(seen.wrong), [])
  for (const what of ['event retry', 'event error', 'onError']) assert.ok(seen.right.has(what), what)
})

test('an upgrade runs in the context of its request to its end', async () => {
  const seen: Seen = { wrong: new Set(), right: new Set() }
  await using backend = await echoBackend()
  await using app = await application({ target: backend.url }, seen)
  const socket = new WebSocket(`ws://127.0.0.1:${app.port}/chat`)
  await once(socket, 'open')
  const over = new Promise((resolve) => app.proxy.on('finish', resolve))
  socket.close()
  await over
  assert.deepEqual(Array.from(seen.wrong), [])
  assert.ok(seen.right.has('event upgrade') && seen.right.has('event finish'))
})

test('connections to backends, and timers, are in the context in which the proxy was made', async () => {
  const context = new AsyncLocalStorage<string>()
  const timers = new Set<string | undefined>()
  const sockets = new Set<string | undefined>()
  const clock: typeof systemClock = {
    ...systemClock,
    schedule(delayMs, task) {
      timers.add(context.getStore())
      return systemClock.schedule(delayMs, task)
    },
  }
  await using backend = await mockBackend()
  await using front = await context.run('made here', () =>
    runInServer({ target: backend.url, clock }, (proxy) =>
      http.createServer((req, res) => context.run('a request', () => proxy.web(req, res))),
    ),
  )
  const onSocket = (): void => void sockets.add(context.getStore())
  // A client outside of any context, on a connection that is there already: every socket from now on is the proxy's.
  const client = rawClient(front.port)
  await once(client.socket, 'connect')
  subscribe('net.client.socket', onSocket)
  try {
    client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('GET /1')
  } finally {
    unsubscribe('net.client.socket', onSocket)
    client.socket.destroy()
  }
  assert.deepEqual([Array.from(sockets), Array.from(timers)], [['made here'], ['made here']])
})
