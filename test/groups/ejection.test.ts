import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstAvailable, type ProxyOptions } from '../../src/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { neverAnswer, resetOnRequest } from '../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, type RunningProxy, runProxy } from '../support/running-proxy.ts'

function inOrder(urls: string[], more: ProxyOptions = {}): Promise<RunningProxy> {
  return runProxy({ backends: urls, balancer: firstAvailable(), retry: false, ...more })
}

function ejected(front: RunningProxy): boolean[] | undefined {
  return front.proxy.stats().groups[0]?.backends.map((one) => one.status === 'ejected')
}

async function statuses(front: RunningProxy, count: number): Promise<number[]> {
  const found = []
  for (let i = 0; i < count; i++) {
    const response = await fetch(front.url)
    await response.arrayBuffer()
    found.push(response.status)
  }
  return found
}

test('five failures in a row eject a backend; it is told, and the others take over', async () => {
  const dead = await deadPort()
  await using good = await mockBackend()
  await using front = await inOrder([dead.url, good.url])
  const told: unknown[] = []
  front.proxy.on('eject', (backend, ms) => told.push(backend.id, ms))
  assert.deepEqual(await statuses(front, 7), [502, 502, 502, 502, 502, 200, 200])
  assert.deepEqual(told, [dead.url, 30_000])
  assert.deepEqual(ejected(front), [true, false])
  assert.deepEqual(
    front.proxy.stats().groups[0]?.backends.map((one) => one.status === 'available'),
    [false, true],
  )
})

test('a success in between begins the count anew', async () => {
  await using bad = await mockBackend([
    ...Array(4).fill(resetOnRequest),
    { body: 'fine' },
    ...Array(4).fill(resetOnRequest),
    { body: 'fine' },
  ])
  await using good = await mockBackend()
  await using front = await inOrder([bad.url, good.url])
  await statuses(front, 10)
  assert.deepEqual(ejected(front), [false, false])
})

test('an ejected backend comes back after its time, and is ejected for twice as long the next time', async () => {
  const clock = manualClock()
  await using bad = await mockBackend(resetOnRequest)
  await using good = await mockBackend()
  await using front = await inOrder([bad.url, good.url], { clock, healthCheck: { consecutiveFailures: 2 } })
  const told: unknown[] = []
  front.proxy.on('eject', (_backend, ms) => told.push(ms)).on('uneject', (backend) => told.push(backend.id))
  assert.deepEqual(await statuses(front, 3), [502, 502, 200])
  clock.advance(29_999)
  assert.deepEqual(await statuses(front, 1), [200])
  clock.advance(1)
  assert.deepEqual(ejected(front), [false, false])
  assert.deepEqual(await statuses(front, 3), [502, 502, 200])
  assert.deepEqual(told, [30_000, bad.url, 60_000])
})

test('clients that go away are no evidence against a backend', async () => {
  await using bad = await mockBackend(neverAnswer)
  await using good = await mockBackend()
  await using front = await inOrder([bad.url, good.url])
  for (let i = 0; i < 6; i++) {
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await bad.nextRequest()
    client.socket.resetAndDestroy()
    assert.equal((await front.nextRecord()).outcome, 'aborted')
  }
  assert.deepEqual(ejected(front), [false, false])
})

test('clients that are too slow are no evidence against a backend', async () => {
  await using bad = await mockBackend(neverAnswer)
  await using good = await mockBackend()
  await using front = await inOrder([bad.url, good.url], {
    timeouts: { idle: 30 },
    healthCheck: { consecutiveFailures: 1 },
  })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf')
  await client.until('408')
  assert.deepEqual(ejected(front), [false, false])
  client.socket.destroy()
})

test('the only backend of a group is never ejected', async () => {
  const dead = await deadPort()
  await using front = await inOrder([dead.url])
  assert.deepEqual(await statuses(front, 8), Array(8).fill(502))
  assert.deepEqual(ejected(front), [false])
})

test('half of a group at the most is ejected', async () => {
  const dead = await Promise.all([deadPort(), deadPort(), deadPort()])
  await using good = await mockBackend()
  await using front = await inOrder([...dead.map(({ url }) => url), good.url])
  await statuses(front, 20)
  assert.deepEqual(ejected(front), [true, true, false, false])
})

test('responses with a listed status count as failures, others do not', async () => {
  await using bad = await mockBackend([
    { status: 500 },
    { status: 501 },
    { status: 500 },
    { status: 500 },
    { status: 500 },
    { status: 502 },
    { status: 503 },
    { status: 504 },
    { status: 503 },
    { status: 503 },
  ])
  await using good = await mockBackend()
  await using front = await inOrder([bad.url, good.url], { healthCheck: { statuses: [502, 503, 504] } })
  await statuses(front, 9)
  assert.deepEqual(ejected(front), [false, false])
  await statuses(front, 1)
  assert.deepEqual(ejected(front), [true, false])
})

for (const front of ALL_FRONTS) {
  test(`a URL that every backend answers with 502, 503 or 504 ejects none (${front.name})`, async () => {
    const backends = await Promise.all(
      Array.from({ length: 4 }, () => mockBackend((request, reply) => reply.send({ status: statusOf(request.path) }))),
    )
    const running = await front.run({ backends: backends.map(({ url }) => url), balancer: 'round-robin' })
    for (const path of ['/502', '/503', '/504']) {
      for (let i = 0; i < 20; i++) assert.equal((await fetch(`${running.url}${path}`)).status, statusOf(path))
    }
    assert.deepEqual(ejected(running), [false, false, false, false])
    for (let i = 0; i < 4; i++) assert.equal((await fetch(`${running.url}/200`)).status, 200)
    await running[Symbol.asyncDispose]()
    await Promise.all(backends.map((backend) => backend[Symbol.asyncDispose]()))
  })
}

function statusOf(path: string): number {
  return Number(path.slice(1))
}

test('retried failures count too: the client sees none of it', async () => {
  const dead = await deadPort()
  await using good = await mockBackend()
  await using front = await runProxy({ backends: [dead.url, good.url], balancer: firstAvailable() })
  assert.deepEqual(await statuses(front, 6), Array(6).fill(200))
  assert.deepEqual(ejected(front), [true, false])
})

test('healthCheck: false ejects nothing', async () => {
  const dead = await deadPort()
  await using good = await mockBackend()
  await using front = await inOrder([dead.url, good.url], { healthCheck: false })
  await statuses(front, 7)
  assert.deepEqual(ejected(front), [false, false])
})

for (const what of ['draining', 'without a weight'] as const) {
  test(`where all backends are ${what}, the answer is 503 with Retry-After`, async () => {
    const { url } = await deadPort()
    const weight = what === 'draining' ? 1 : 0
    await using front = await runProxy({ backends: [{ url, weight }], retry: false })
    if (what === 'draining') await front.proxy.drain(url)
    const response = await fetch(front.url)
    assert.equal(response.status, 503)
    assert.equal(response.headers.get('retry-after'), '1')
    assert.equal(await response.text(), '503 Service Unavailable (ERR_PROXY_NO_BACKEND)\n')
    const error = front.errors.at(-1)
    assert.equal(error?.code, 'ERR_PROXY_NO_BACKEND')
    assert.equal(error?.side, 'proxy')
    assert.equal(error?.phase, 'pick')
  })
}
