import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HealthControl } from '../../src/contracts/health-check.ts'
import { httpProbe, type ProbeOptions } from '../../src/health-checks/index.ts'
import { Backend, type BackendInit } from '../../src/model/backend.ts'
import { BackendState } from '../../src/runtime/backend-state.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { cutMidBody, garbage, neverAnswer, resetOnRequest } from '../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { certificate, key } from '../support/certificates.ts'
import { queue, rounds, runProxy } from '../support/running-proxy.ts'

const INTERVAL_MS = 1000
const TIMEOUT_MS = 300

/** A probe under way, on a clock of its own. */
function watch(init: BackendInit | string, options: ProbeOptions = {}, state = new BackendState()) {
  const clock = manualClock()
  const delays = queue<number>()
  const told: string[] = []
  const backend = new Backend(init, state)
  const control: HealthControl = {
    eject: () => false,
    setUnhealthy(which, isUnhealthy, reason) {
      which.state.isUnhealthy = isUnhealthy
      told.push(`${isUnhealthy ? 'unhealthy' : 'healthy'}: ${reason}`)
    },
  }
  const check = httpProbe(
    { intervalMs: INTERVAL_MS, timeoutMs: TIMEOUT_MS, ...options },
    {
      ...clock,
      schedule(ms, task) {
        delays.push(ms)
        return clock.schedule(ms, task)
      },
    },
  )
  const stop = check.watch?.(backend, control)
  return {
    backend,
    clock,
    told,
    stop: () => stop?.(),
    /** The probe that runs has ended. */
    async ended(): Promise<void> {
      while ((await delays.next()) <= TIMEOUT_MS);
    },
    /** Lets the next one run to its end. */
    async next(): Promise<void> {
      clock.advance(INTERVAL_MS * 1.1)
      await this.ended()
    },
  }
}

const fails: MockHandler = (_request, reply) => reply.send({ status: 503 })
const passes: MockHandler = (_request, reply) => reply.send({ status: 204 })

test('the first probe decides alone; then three must fail, or two pass', async () => {
  await using server = await mockBackend(fails)
  const probe = watch(server.url)
  await probe.ended()
  assert.deepEqual(probe.told, ['unhealthy: status 503'])
  server.use(passes)
  await probe.next()
  assert.equal(probe.told.length, 1)
  await probe.next()
  assert.deepEqual(probe.told.splice(0), ['unhealthy: status 503', 'healthy: 2 probes in a row have passed'])
  server.use(fails)
  await probe.next()
  await probe.next()
  // What agrees with the state begins the count anew.
  server.use(passes)
  await probe.next()
  server.use(fails)
  await probe.next()
  await probe.next()
  assert.deepEqual(probe.told, [])
  await probe.next()
  assert.deepEqual(probe.told, ['unhealthy: status 503'])
  probe.stop()
})

test('after a takeover from another thread the first probe does not decide alone', async () => {
  await using server = await mockBackend(passes)
  const state = new BackendState()
  const before = watch(server.url, {}, state)
  await before.ended()
  before.stop()
  server.use(fails)
  const probe = watch(server.url, {}, state)
  await probe.ended()
  await probe.next()
  assert.deepEqual(probe.told, [])
  await probe.next()
  assert.deepEqual(probe.told, ['unhealthy: status 503'])
  probe.stop()
  // A backend that comes anew is not known.
  state.clear()
  const anew = watch(server.url, {}, state)
  await anew.ended()
  assert.deepEqual(anew.told, ['unhealthy: status 503'])
  anew.stop()
})

test('rise and fall can be set', async () => {
  await using server = await mockBackend(passes)
  const probe = watch(server.url, { rise: 1, fall: 1 })
  await probe.ended()
  server.use(fails)
  await probe.next()
  server.use(passes)
  await probe.next()
  assert.deepEqual(probe.told, ['unhealthy: status 503', 'healthy: 1 probes in a row have passed'])
  probe.stop()
})

test("a probe appends its path to the backend's, on its own connection", async () => {
  await using server = await mockBackend(passes)
  const probe = watch(`${server.url}/base`, { path: '/healthz?full', method: 'HEAD', host: 'app.example' })
  await probe.ended()
  await probe.next()
  const heads = server.requests.map((request) => request.rawHead)
  const head =
    'HEAD /base/healthz?full HTTP/1.1\r\nHost: app.example\r\nUser-Agent: heddle-probe\r\nConnection: close\r\n\r\n'
  assert.deepEqual(heads, [head, head])
  assert.equal(server.connections, 2)
  probe.stop()
})

test('statuses from 200 to 399 pass, or the configured ones', async () => {
  await using server = await mockBackend((_request, reply) => reply.send({ status: 302 }))
  const any = watch(server.url)
  await any.ended()
  any.stop()
  assert.deepEqual(any.told, [])
  const exact = watch(server.url, { statuses: [200] })
  await exact.ended()
  exact.stop()
  assert.deepEqual(exact.told, ['unhealthy: status 302'])
})

for (const [what, handler, reason] of [
  ['resets the connection', resetOnRequest, /ECONNRESET|socket hang up/],
  ['sends garbage', garbage, /Parse Error/],
  ['breaks off in the body', cutMidBody, /closed/],
  [
    'wants to upgrade',
    (_, reply) => void reply.raw('HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'),
    /closed/,
  ],
] as const satisfies readonly (readonly [string, MockHandler, RegExp])[]) {
  test(`a backend that ${what} fails the probe`, async () => {
    await using server = await mockBackend(handler)
    const probe = watch(server.url)
    await probe.ended()
    probe.stop()
    assert.match(probe.told[0] ?? '', reason)
  })
}

test('an unreachable backend fails the probe', async () => {
  const probe = watch((await deadPort()).url)
  await probe.ended()
  probe.stop()
  assert.match(probe.told[0] ?? '', /ECONNREFUSED/)
})

for (const [what, handler] of [
  ['does not answer', neverAnswer],
  ['does not end its answer', (_, reply) => void reply.head()],
] as const satisfies readonly (readonly [string, MockHandler])[]) {
  test(`a backend that ${what} in time fails the probe; its connection is closed`, async () => {
    await using server = await mockBackend(handler)
    const probe = watch(server.url)
    await server.nextRequestHead()
    await rounds()
    assert.deepEqual(probe.told, [])
    probe.clock.advance(TIMEOUT_MS)
    probe.stop()
    assert.deepEqual(probe.told, ['unhealthy: no response within 300 ms'])
    await server.untilOpenConnections(0)
  })
}

test("a probe uses the backend's TLS settings and verifies", async () => {
  await using server = await mockBackend(passes, { tls: { cert: certificate, key } })
  const trusting = watch({ url: server.url, tls: { ca: certificate } })
  await trusting.ended()
  trusting.stop()
  assert.deepEqual(trusting.told, [])
  const strict = watch(server.url)
  await strict.ended()
  strict.stop()
  assert.match(strict.told[0] ?? '', /self.signed/)
})

test('settings that cannot make a request fail the probe', async () => {
  const probe = watch({ url: 'https://127.0.0.1:1', tls: { cert: 'no certificate' } })
  await probe.ended()
  probe.stop()
  assert.match(probe.told[0] ?? '', /^unhealthy: /)
})

test('after a stop nothing is reported and no timer is left', async () => {
  await using server = await mockBackend(neverAnswer)
  const probe = watch(server.url)
  await server.nextRequestHead()
  probe.stop()
  await server.untilOpenConnections(0)
  await rounds()
  assert.equal(probe.clock.scheduled, 0)
  assert.deepEqual(probe.told, [])
})

test('in a proxy: an unhealthy backend gets no requests until it recovers', async () => {
  const clock = manualClock()
  let isWell = false
  const answer: MockHandler = (request, reply) => {
    reply.send({ status: isWell || request.path !== '/healthz' ? 200 : 500 })
  }
  await using sick = await mockBackend(answer)
  await using well = await mockBackend()
  const told: string[] = []
  const news = queue()
  await using front = await runProxy({ target: well.url, clock })
  await using probed = await runProxy({
    backends: [sick.url, well.url],
    clock,
    healthCheck: { probe: { path: '/healthz', intervalMs: INTERVAL_MS, rise: 1 } },
  })
  const note = (what: string) => (backend: { id: string }, reason: string) => {
    told.push(`${what} ${backend.id === sick.url ? 'sick' : 'well'}: ${reason}`)
    news.push(undefined)
  }
  probed.proxy.on('unhealthy', note('unhealthy')).on('healthy', note('healthy'))
  await news.next()
  assert.deepEqual(told, ['unhealthy sick: status 500'])
  const before = sick.requests.length
  for (let i = 0; i < 20; i++) await (await fetch(probed.url)).arrayBuffer()
  assert.equal(sick.requests.length, before)
  const [state] = probed.proxy.stats().groups[0]?.backends ?? []
  assert.equal(state?.status, 'unhealthy')

  isWell = true
  // The probe that failed has ended; that of the other may not have.
  while (told.length < 2) {
    clock.advance(INTERVAL_MS * 1.1)
    await rounds()
  }
  assert.deepEqual(told[1], 'healthy sick: 1 probes in a row have passed')
  assert.equal(probed.proxy.stats().groups[0]?.backends[0]?.status, 'available')
  assert.equal(front.proxy.stats().groups[0]?.backends[0]?.status, 'available')
})

test('in a proxy: if all are unhealthy the response is 503', async () => {
  await using sick = await mockBackend(fails)
  const news = queue()
  await using front = await runProxy({ target: sick.url, healthCheck: { probe: {} }, retry: false })
  front.proxy.on('unhealthy', () => news.push(undefined))
  await news.next()
  const response = await fetch(front.url)
  assert.equal(response.status, 503)
  assert.match(await response.text(), /ERR_PROXY_NO_BACKEND/)
})

test('setBackends() starts and stops probes; close() ends them', async () => {
  const clock = manualClock()
  await using one = await mockBackend(passes)
  await using two = await mockBackend(passes)
  await using front = await runProxy({
    backends: [one.url],
    clock,
    healthCheck: { probe: { intervalMs: INTERVAL_MS } },
  })
  await one.nextRequest()
  await one.untilOpenConnections(0)
  await front.proxy.setBackends([two.url])
  await two.nextRequest()
  await two.untilOpenConnections(0)
  await rounds()
  clock.advance(INTERVAL_MS * 1.1)
  await two.nextRequest()
  assert.equal(one.requests.length, 1)
  await front.proxy.close()
  clock.advance(INTERVAL_MS * 10)
  await rounds()
  assert.equal(two.requests.length, 2)
})
