import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { Agent, request } from 'undici'
import WebSocket, { WebSocketServer } from 'ws'
import {
  type BackendInit,
  createProxy,
  type GroupOptions,
  inline,
  type ProxyOptions,
  type RouteOptions,
  workerThreads,
} from '../../src/index.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { LOOPBACK, without } from '../threads/threaded.ts'

const CHANGES = 200
const WORKERS = 4
const skip = await without()

interface EchoServer extends AsyncDisposable {
  readonly url: string
  readonly openConnections: () => number
}

/** Answers with the request's body, or `GET` and the path; echoes what comes on WebSockets. */
async function echoServer(): Promise<EchoServer> {
  let open = 0
  const server = http.createServer((req, res) => {
    if (req.method === 'POST') req.pipe(res)
    else res.end(`GET ${req.url}`)
  })
  server.keepAliveTimeout = 60_000
  server.on('connection', (socket) => {
    open++
    socket.on('close', () => open--)
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => {
    socket.on('message', (data) => socket.send(data))
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    openConnections: () => open,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      sockets.close()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Some configuration in which every request finds a backend, and `stays` stays in the group `default`. */
function someOptions(random: (below: number) => number, stays: string, others: readonly string[]): ProxyOptions {
  const pick = <Value>(values: readonly Value[]): Value => values[random(values.length)] as Value
  const group = (some: (string | BackendInit)[]): GroupOptions => ({
    backends: some,
    balancer: pick(['power-of-two', 'round-robin', 'least-connections', 'consistent-hash', 'random'] as const),
    pool: { maxConnections: pick([200, 300]) },
    slowStartMs: pick([0, 50]),
    retry: pick([{ maxRetries: 1 }, { maxRetries: 2 }]),
  })
  const some = others.filter(() => random(2) === 0)
  const stay: BackendInit = { url: stays, weight: 1 + random(3), metadata: { round: random(2) } }
  // Its connections may change their rules; the backend itself stays as it is.
  const groups: Record<string, GroupOptions> = { default: { ...group([stay, ...some]), pool: {} } }
  const routes: RouteOptions[] = [{ path: '/' }]
  for (const name of ['api', 'more', 'x']) {
    if (random(2) === 0) continue
    groups[name] = group([pick(others), stays].slice(0, 1 + random(2)))
    if (random(3) > 0) routes.push({ path: `/${name}`, group: name, timeouts: { headers: 20_000 + random(2) } })
  }
  return { groups, routes, via: pick(['one', 'two']), xfwd: random(2) === 0, limits: { maxHeaders: 50 + random(2) } }
}

for (const threads of [1, 2]) {
  test(`${CHANGES} updates under load with ${threads} thread(s): nothing is lost, cut or left behind`, {
    skip: threads > 1 && skip,
  }, async (t) => {
    const next = seededRandom(20_261_129 + threads)
    const random = (below: number): number => Math.floor(next() * below)
    await using stays = await echoServer()
    await using one = await echoServer()
    await using two = await echoServer()
    await using three = await echoServer()
    const servers = [stays, one, two, three]
    const others = [one.url, two.url, three.url]
    const proxy = createProxy({
      target: stays.url,
      executor: threads === 1 ? inline() : workerThreads({ threads }),
      drainTimeoutMs: 5000,
    })
    const errors: string[] = []
    proxy.on('error', (error) => errors.push(`${error.code} ${error.message}`))
    const { url } = await proxy.listen(LOOPBACK)

    const sockets = Array.from({ length: 6 }, () => new WebSocket(url.replace('http', 'ws')))
    await Promise.all(sockets.map((socket) => once(socket, 'open')))
    let isOver = false
    let asked = 0
    const agent = new Agent({ connections: WORKERS * 2 })
    const load = Array.from({ length: WORKERS }, async (_, worker) => {
      for (let i = 0; !isOver; i++) {
        const path = `/${['', 'api/', 'more/', 'x/'][i % 4]}${worker}-${i}`
        const text = `${path} ${'x'.repeat((i % 7) * 3000)}`
        const isPost = i % 3 === 0
        const response = await request(url + path, {
          dispatcher: agent,
          method: isPost ? 'POST' : 'GET',
          body: isPost ? text : null,
        })
        assert.equal(`${response.statusCode} ${await response.body.text()}`, `200 ${isPost ? text : `GET ${path}`}`)
        asked++
      }
    })
    const chats = sockets.map(async (socket, number) => {
      for (let i = 0; !isOver; i++) {
        const text = `${number} says ${i}`
        socket.send(text)
        const [data] = (await once(socket, 'message')) as [Buffer]
        assert.equal(String(data), text)
        asked++
      }
    })
    const failed = Promise.all([...load, ...chats])
    const drained: Promise<void>[] = []
    const changes = (async () => {
      for (let version = 2; version < CHANGES + 2; version++) {
        const options = someOptions(random, stays.url, others)
        const result = proxy.update(options)
        assert.equal(result.version, version)
        assert.deepEqual(result.plan.restart, [])
        assert.ok(!result.plan.backends.removed.some(({ group, id }) => group === 'default' && id === stays.url))
        drained.push(result.drained)
        // Some come before the threads have made the last one, others in a pause; and there is work in between.
        if (random(3) > 0) await result.applied
        const before = asked
        if (random(4) > 0) while (asked < before + 10) await new Promise((resolve) => setImmediate(resolve))
      }
      assert.throws(() => proxy.update({ target: 'nowhere' }))
      isOver = true
    })()
    await Promise.race([failed.then(() => changes), changes.then(() => failed)])
    await Promise.all([changes, failed, ...drained])
    assert.deepEqual(errors, [])
    t.diagnostic(`${asked} requests and messages`)

    for (const socket of sockets) assert.equal(socket.readyState, WebSocket.OPEN)
    const { active } = proxy.stats()
    assert.equal(active, sockets.length)
    const closed = sockets.map((socket) => once(socket, 'close'))
    for (const socket of sockets) socket.close()
    await Promise.all(closed)
    await agent.close()
    await proxy.close()
    const { groups } = proxy.stats()
    assert.ok(groups.every(({ backends }) => backends.every(({ pending }) => pending === 0)))
    for (const server of servers) {
      while (server.openConnections() > 0) await new Promise((resolve) => setImmediate(resolve))
    }
  })
}
