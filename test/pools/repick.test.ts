import assert from 'node:assert/strict'
import net from 'node:net'
import { describe, test } from 'node:test'
import {
  type Backend,
  firstAvailable,
  type HealthCheck,
  type HealthControl,
  type ProxyOptions,
} from '../../src/index.ts'
import { type MockBackend, type MockReply, mockBackend } from '../../src/testing/index.ts'
import { ALL_FRONTS, queue, type RunningProxy, rounds, type WayIn } from '../support/running-proxy.ts'

/** Lets the test say how its backends are, and notes what is told of them. */
function handOperated(): HealthCheck & { readonly told: string[]; control(id: string): [HealthControl, Backend] } {
  const watched = new Map<string, [HealthControl, Backend]>()
  const told: string[] = []
  return {
    name: 'by hand',
    told,
    watch(backend, control) {
      watched.set(backend.id, [control, backend])
      return () => {}
    },
    observe: (backend, outcome) => void told.push(`${backend.id} ${outcome.kind}`),
    control: (id) => watched.get(id) as [HealthControl, Backend],
  }
}

type Hand = ReturnType<typeof handOperated>

/** How a backend goes. */
const WAYS: readonly [string, (front: RunningProxy, hand: Hand, others: string[]) => unknown][] = [
  ['unhealthy', (_front, hand) => hand.control('hung')[0].setUnhealthy(hand.control('hung')[1], true, 'a test')],
  ['ejected', (_front, hand) => hand.control('hung')[0].eject(hand.control('hung')[1], 60_000, 'a test')],
  ['drained', (front) => void front.proxy.drain('hung')],
  ['removed', (front, _hand, others) => front.proxy.setBackends(others.map((url) => ({ id: 'well', url })))],
]

async function untilWaiting(front: RunningProxy, count: number): Promise<void> {
  while (waiting(front) !== count) await new Promise((resolve) => setImmediate(resolve))
}

function waiting(front: RunningProxy): number {
  const backends = front.proxy.stats().groups[0]?.pool.backends ?? []
  return backends.reduce((sum, one) => sum + one.waiting, 0)
}

/** A backend that answers when the test says so. */
async function onDemand(): Promise<{ backend: MockBackend; replies: { next(): Promise<MockReply> } }> {
  const replies = queue<MockReply>()
  return { backend: await mockBackend((_request, reply) => replies.push(reply)), replies }
}

async function fiveWaiting(
  { run }: WayIn,
  options: ProxyOptions,
  hung: { next(): Promise<MockReply> },
): Promise<{ front: RunningProxy; first: Promise<Response>; reply: MockReply; stuck: Promise<Response>[] }> {
  const front = await run({
    balancer: firstAvailable(),
    pool: { maxConnections: 1 },
    timeouts: { acquire: 0 },
    ...options,
  })
  const first = fetch(front.url)
  const reply = await hung.next()
  const stuck = Array.from({ length: 5 }, (_, i) => fetch(`${front.url}/${i}`, { method: i === 0 ? 'POST' : 'GET' }))
  await untilWaiting(front, 5)
  return { front, first, reply, stuck }
}

for (const way of ALL_FRONTS) {
  describe(way.name, () => {
    test('what waits for a busy backend goes to another that becomes free', async () => {
      const [one, other] = [await onDemand(), await onDemand()]
      await using _ = one.backend
      await using __ = other.backend
      await using front = await way.run({
        backends: [
          { id: 'one', url: one.backend.url },
          { id: 'other', url: other.backend.url },
        ],
        balancer: 'least-connections',
        pool: { maxConnections: 1 },
        timeouts: { acquire: 0 },
      })
      const held = [fetch(front.url), fetch(front.url)]
      const replies = [await one.replies.next(), await other.replies.next()]
      const third = fetch(front.url)
      await untilWaiting(front, 1)
      const stats = front.proxy.stats().groups[0]?.pool.backends ?? []
      const [busy, free] = stats.find(({ backend }) => backend === 'one')?.waiting === 1 ? [0, 1] : [1, 0]
      replies[free]?.send({ body: 'done' })
      const reply = await [one, other][free]?.replies.next()
      reply?.send({ body: 'third' })
      assert.equal(await (await third).text(), 'third')
      replies[busy]?.send({ body: 'done' })
      for (const response of await Promise.all(held)) assert.equal(response.status, 200)
      assert.equal(front.pending(), 0)
    })

    test('what insists on its backend is offered another once, and keeps its place', async () => {
      const [one, other] = [await onDemand(), await onDemand()]
      await using _ = one.backend
      await using __ = other.backend
      let picks = 0
      await using front = await way.run({
        backends: [
          { id: 'one', url: one.backend.url },
          { id: 'other', url: other.backend.url },
        ],
        balancer: {
          name: 'by path',
          pick: (candidates, exchange) => {
            picks++
            return candidates.find(({ id }) => exchange.target === `/${id}`) ?? candidates[0]
          },
        },
        pool: { maxConnections: 1 },
        timeouts: { acquire: 0 },
      })
      const held = fetch(`${front.url}/one`)
      const first = await one.replies.next()
      const stuck = fetch(`${front.url}/one`)
      await untilWaiting(front, 1)
      for (let i = 0; i < 5; i++) {
        const done = fetch(`${front.url}/other`)
        ;(await other.replies.next()).send({ body: 'other' })
        assert.equal(await (await done).text(), 'other')
        await untilWaiting(front, 1)
      }
      assert.equal(picks, 1 + 1 + 5 + 1)
      first.send({ body: 'first' })
      ;(await one.replies.next()).send({ body: 'stuck' })
      assert.equal(await (await stuck).text(), 'stuck')
      assert.equal((await held).status, 200)
    })

    for (const [how, leave] of WAYS) {
      test(`what waits for a backend that is ${how} goes to another: no retry, and no blame`, async () => {
        const hung = await onDemand()
        await using _ = hung.backend
        await using well = await mockBackend({ body: 'well' })
        const hand = handOperated()
        const backends = [
          { id: 'hung', url: hung.backend.url },
          { id: 'well', url: well.url },
        ]
        const options = { backends, retry: false as const, healthCheck: hand }
        const { front, first, reply, stuck } = await fiveWaiting(way, options, hung.replies)
        await using __ = front
        let retries = 0
        front.proxy.on('retry', () => retries++)
        await leave(front, hand, [well.url])
        for (const one of stuck) assert.equal(await (await one).text(), 'well')
        for (let i = 0; i < 5; i++) {
          const { attempts, backend } = await front.nextRecord()
          assert.deepEqual([attempts, backend], [1, 'well'])
        }
        assert.deepEqual([retries, front.errors.length, front.pending()], [0, 0, how === 'removed' ? 0 : 1])
        assert.deepEqual(new Set(hand.told), new Set(['well answered']))
        // What has begun goes on.
        reply.send({ body: 'hung' })
        assert.equal(await (await first).text(), 'hung')
      })
    }

    test('what waits for a backend that is drained, and no other is there, gets 503 at once', async () => {
      const hung = await onDemand()
      await using _ = hung.backend
      const options = { backends: [{ id: 'hung', url: hung.backend.url }] }
      const { front, first, reply, stuck } = await fiveWaiting(way, options, hung.replies)
      await using __ = front
      void front.proxy.drain('hung')
      for (const one of stuck) {
        const response = await one
        assert.equal(response.status, 503)
        assert.match(await response.text(), /ERR_PROXY_NO_BACKEND/)
      }
      reply.send({ body: 'hung' })
      assert.equal(await (await first).text(), 'hung')
    })

    test('what waits for the last backend, which is found unhealthy, waits on', async () => {
      const hung = await onDemand()
      await using _ = hung.backend
      const hand = handOperated()
      const options = { backends: [{ id: 'hung', url: hung.backend.url }], healthCheck: hand }
      const { front, first, reply, stuck } = await fiveWaiting(way, options, hung.replies)
      await using __ = front
      const [control, backend] = hand.control('hung')
      control.setUnhealthy(backend, true, 'a test')
      await rounds()
      assert.equal(waiting(front), 5)
      reply.send({ body: 'hung' })
      for (let i = 0; i < 5; i++) (await hung.replies.next()).send({ body: 'hung' })
      for (const one of [first, ...stuck]) assert.equal(await (await one).text(), 'hung')
    })

    test('what waits picks again when another backend is added', async () => {
      const hung = await onDemand()
      await using _ = hung.backend
      await using fresh = await mockBackend({ body: 'fresh' })
      const backends = [{ id: 'hung', url: hung.backend.url }]
      const options = { backends, balancer: 'least-connections' as const }
      const { front, first, reply, stuck } = await fiveWaiting(way, options, hung.replies)
      await using __ = front
      await front.proxy.setBackends([...backends, { id: 'fresh', url: fresh.url }])
      for (const one of stuck) assert.equal(await (await one).text(), 'fresh')
      reply.send({ body: 'hung' })
      assert.equal(await (await first).text(), 'hung')
    })

    test('what waits picks again when a backend comes back', async () => {
      const hung = await onDemand()
      await using _ = hung.backend
      await using back = await mockBackend({ body: 'back' })
      const { front, first, reply, stuck } = await fiveWaiting(
        way,
        {
          backends: [
            { id: 'back', url: back.url, weight: 0 },
            { id: 'hung', url: hung.backend.url },
          ],
        },
        hung.replies,
      )
      await using __ = front
      await front.proxy.setBackends([
        { id: 'back', url: back.url },
        { id: 'hung', url: hung.backend.url },
      ])
      for (const one of stuck) assert.equal(await (await one).text(), 'back')
      reply.send({ body: 'hung' })
      assert.equal(await (await first).text(), 'hung')
    })

    test('what waits for a connection that is being set up picks again, too', async () => {
      const sockets: net.Socket[] = []
      const arrived = queue<void>()
      // Takes connections and never says a word of TLS.
      const mute = net.createServer((socket) => {
        sockets.push(socket.on('error', () => {}))
        arrived.push()
      })
      await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
      const { port } = mute.address() as net.AddressInfo
      await using well = await mockBackend({ body: 'well' })
      {
        await using front = await way.run({
          backends: [
            { id: 'hung', url: `https://127.0.0.1:${port}` },
            { id: 'well', url: well.url },
          ],
          balancer: firstAvailable(),
          retry: false,
        })
        const response = fetch(front.url, { method: 'POST', body: 'x' })
        await arrived.next()
        void front.proxy.drain('hung')
        assert.equal(await (await response).text(), 'well')
      }
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => mute.close(resolve))
    })
  })
}
