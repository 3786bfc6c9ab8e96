import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Backend, HealthCheck, ProxyOptions } from '../../src/index.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'
import { ALL_FRONTS, rounds, runProxy } from '../support/running-proxy.ts'

const two = (url: string): ProxyOptions => ({
  backends: [
    { id: 'one', url },
    { id: 'two', url },
  ],
})

for (const { name, run } of ALL_FRONTS) {
  for (const given of [Number.NaN, Number.POSITIVE_INFINITY, '0', undefined, null, {}, true, Object.create(null)]) {
    const shown = typeof given === 'object' && given !== null ? 'an object' : String(given)
    test(`a retry policy whose next() returns ${shown} is given up and logged, ${name}`, async () => {
      const logger = recordingLogger()
      const { url } = await deadPort()
      const retry = { name: 'mine', next: () => given as never }
      await using front = await run({ target: url, logger, healthCheck: false, retry })
      assert.equal((await fetch(front.url)).status, 502)
      assert.equal((await front.nextRecord()).attempts, 1)
      assert.equal(logger.messages('error').length, 1)
      assert.match(logger.messages('error')[0] ?? '', /^a policy of group default threw: /)
    })
  }

  test(`a retry policy whose next() returns less than 0 is given up without a word, ${name}`, async () => {
    const logger = recordingLogger()
    const { url } = await deadPort()
    for (const given of [-1, Number.NEGATIVE_INFINITY]) {
      await using front = await run({
        target: url,
        logger,
        healthCheck: false,
        retry: { name: 'mine', next: () => given },
      })
      assert.equal((await fetch(front.url)).status, 502)
      assert.equal((await front.nextRecord()).attempts, 1)
    }
    assert.deepEqual(logger.messages('error'), [])
  })

  test(`a balancer that picks a backend that is foreign, or not available, is refused, ${name}`, async () => {
    const logger = recordingLogger()
    await using backend = await mockBackend()
    let pick = (candidates: readonly Backend[]): unknown => candidates[0]
    const balancer = { name: 'mine', pick: (candidates: readonly Backend[]) => pick(candidates) as Backend }
    await using front = await run({ ...two(backend.url), logger, balancer })
    let drained: Backend | undefined
    pick = ([one]) => {
      drained = one
      return one
    }
    assert.equal((await fetch(front.url)).status, 200)
    await front.nextRecord()
    await front.proxy.drain('one')
    for (const wrong of [drained, { ...drained }, { state: drained?.state }, 'two', null, undefined]) {
      pick = () => wrong
      const response = await fetch(front.url)
      assert.equal(response.status, 500)
      assert.match(await response.text(), /ERR_PROXY_HOOK/)
      assert.match(
        logger.messages('error').at(-1) ?? '',
        /balancer mine threw: pick\(\) returned something that is not one/,
      )
      assert.equal((await front.nextRecord()).backend, null)
      assert.equal(front.pending(), 0)
    }
    assert.equal(backend.requests.length, 1)
  })

  test(`a hash key that is no string is refused, ${name}`, async () => {
    const logger = recordingLogger()
    await using backend = await mockBackend()
    let key: () => unknown = () => 'a'
    const balancer = { name: 'consistent-hash' as const, by: () => key() as string }
    await using front = await run({ ...two(backend.url), logger, balancer })
    for (const fine of ['a', undefined, '']) {
      key = () => fine
      assert.equal((await fetch(front.url)).status, 200)
    }
    for (const [wrong, log] of [
      [() => 7, /the hash key is 7; return a string or undefined/],
      [() => null, /the hash key is an object/],
      [() => Symbol('s'), /the hash key is Symbol\(s\)/],
      [() => Promise.reject(new Error('oops')), /it returned a promise/],
    ] as const) {
      key = wrong
      assert.equal((await fetch(front.url)).status, 500)
      assert.match(logger.messages('error').at(-1) ?? '', log)
    }
  })
}

test('a watch() that returns no function, or a promise, is logged once, and the backend is in the balance', async () => {
  for (const given of [() => 7, async () => () => {}, () => Promise.reject(new Error('oops'))]) {
    const logger = recordingLogger()
    await using backend = await mockBackend()
    let watched = 0
    const watch = (): never => {
      watched++
      return given() as never
    }
    await using front = await runProxy({
      target: backend.url,
      logger,
      healthCheck: { name: 'mine', observe() {}, watch },
    })
    await rounds()
    assert.match(
      logger.messages('error').join(),
      /the health check of group default threw: watch\(\) returned no function/,
    )
    assert.equal((await fetch(front.url)).status, 200)
    assert.equal(watched, 1)
  }
})

test('a watch() that returns nothing is fine', async () => {
  const logger = recordingLogger()
  await using backend = await mockBackend()
  {
    const healthCheck = { name: 'mine', observe() {}, watch: () => undefined as never }
    await using front = await runProxy({ target: backend.url, logger, healthCheck })
    assert.equal((await fetch(front.url)).status, 200)
  }
  assert.deepEqual(logger.messages('error'), [])
})

test('a health check that ejects for what is no time is logged, and ejects nothing', async () => {
  const given = [Number.NaN, 0, -1, Number.POSITIVE_INFINITY, 2 ** 31, '5', undefined, Object.create(null), Symbol('s')]
  const logger = recordingLogger()
  await using backend = await mockBackend()
  const results: boolean[] = []
  const healthCheck: HealthCheck = {
    name: 'mine',
    observe(one, _outcome, control) {
      for (const ms of given) results.push(control.eject(one, ms as never, 'a test'))
      results.push(control.eject(one, 2 ** 31 - 1, 'a test'))
    },
  }
  await using front = await runProxy({ ...two(backend.url), logger, healthCheck })
  const ejected: number[] = []
  front.proxy.on('eject', (_backend, ms) => void ejected.push(ms))
  assert.equal((await fetch(front.url)).status, 200)
  await front.nextRecord()
  assert.deepEqual(results, [...given.map(() => false), true])
  assert.deepEqual(ejected, [2 ** 31 - 1])
  const messages = logger.messages('error')
  assert.equal(messages.length, given.length)
  assert.match(
    messages[0] ?? '',
    /^the health check of group default threw: eject\(\) was given NaN; give a time in ms/,
  )
})

test('a clock that gives what is no time is logged once, and the machine goes on from there', async () => {
  const logger = recordingLogger()
  await using backend = await mockBackend((_request, reply) => void reply)
  const clock = { ...systemClock, now: () => Number.NaN }
  await using front = await runProxy({ target: backend.url, logger, clock, retry: false, timeouts: { headers: 50 } })
  assert.equal((await fetch(front.url)).status, 504)
  const record = await front.nextRecord()
  assert.ok(record.totalMs >= 50 && record.totalMs < 60_000)
  assert.deepEqual(logger.messages('error'), ['the clock threw: now() returned NaN'])
})
