import assert from 'node:assert/strict'
import { channel } from 'node:diagnostics_channel'
import { test } from 'node:test'
import type { AttemptTimes, Observer, ObserverHook } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'
import { certificate, key } from '../support/certificates.ts'
import { ALL_FRONTS, runProxy } from '../support/running-proxy.ts'

/** Notes each hook, and the times of each attempt. */
function noting(): { observer: Observer; calls: string[]; times: AttemptTimes[] } {
  const calls: string[] = []
  const times: AttemptTimes[] = []
  const observer: Observer = {
    name: 'noting',
    onRequest: ({ target }) => void calls.push(`request ${target}`),
    onAttempt: ({ number, backend }) => void calls.push(`attempt ${number} ${backend.id}`),
    onAttemptEnd(attempt, { kind }) {
      calls.push(`end ${attempt.number} ${kind}`)
      times.push(attempt.times)
    },
    onRetry: (_exchange, { code }) => void calls.push(`retry ${code}`),
    onResponse: (_exchange, status) => void calls.push(`response ${status}`),
    onError: ({ code }) => void calls.push(`error ${code}`),
    onFinish: (_exchange, { outcome }) => void calls.push(`finish ${outcome}`),
    onRefusal: ({ code }) => void calls.push(`refusal ${code}`),
    onBackend: ({ what, backend }) => void calls.push(`${what} ${backend.id}`),
    onClose: () => void calls.push('close'),
  }
  return { observer, calls, times }
}

for (const { name, run } of ALL_FRONTS) {
  test(`an observer sees each step of a request in order, ${name}`, async () => {
    const { url: dead } = await deadPort()
    await using backend = await mockBackend({ body: 'fine' })
    const { observer, calls, times } = noting()
    {
      await using running = await run({
        backends: [
          { url: dead, id: 'dead' },
          { url: backend.url, id: 'good' },
        ],
        balancer: 'first-available',
        healthCheck: { consecutiveFailures: 1 },
        observers: [observer],
      })
      assert.equal(await (await fetch(`${running.url}/x`)).text(), 'fine')
      await running.nextRecord()
    }
    assert.deepEqual(calls, [
      'request /x',
      'attempt 1 dead',
      'ejected dead',
      'end 1 failed',
      'retry ERR_PROXY_CONNECT',
      'attempt 2 good',
      'response 200',
      'end 2 answered',
      'finish answered',
      'close',
    ])
    assert.deepEqual(times[0], { queueMs: -1, connectMs: -1, tlsMs: -1, firstByteMs: -1, bodyMs: -1 })
    const { queueMs, connectMs, tlsMs, firstByteMs, bodyMs } = times[1] as AttemptTimes
    for (const part of [queueMs, firstByteMs, bodyMs]) assert.ok(part >= 0)
    assert.ok(connectMs > 0)
    assert.equal(tlsMs, 0)
  })
}

test('the parts of the time of an attempt tell a handshake from a kept connection', async () => {
  await using backend = await mockBackend({ body: 'fine' }, { tls: { cert: certificate, key } })
  const { observer, times } = noting()
  await using running = await runProxy({
    backends: [{ url: backend.url, tls: { ca: certificate, servername: 'localhost' } }],
    observers: [observer],
  })
  for (let i = 0; i < 2; i++) {
    assert.equal((await fetch(running.url)).status, 200)
    await running.nextRecord()
  }
  assert.ok((times[0]?.tlsMs ?? 0) > 0)
  assert.deepEqual([times[1]?.connectMs, times[1]?.tlsMs], [0, 0])
})

test('a hook that throws or rejects is logged, and neither the request nor another observer notices', async () => {
  await using backend = await mockBackend({ body: 'fine' })
  const logger = recordingLogger()
  const { observer, calls } = noting()
  const broken: Observer = {
    name: 'broken',
    onRequest() {
      throw new Error('oops')
    },
    onFinish: async () => {
      throw new Error('later')
    },
  }
  await using running = await runProxy({ target: backend.url, logger, observers: [broken, observer] })
  assert.equal((await fetch(running.url)).status, 200)
  await running.nextRecord()
  assert.ok(calls.includes('request /') && calls.includes('finish answered'))
  const lines = logger.messages('error').filter((line) => line.startsWith('observer broken threw in '))
  assert.deepEqual(lines, ['observer broken threw in onRequest: oops', 'observer broken threw in onFinish: later'])
})

test('a hook that an observer does not want now is not called', async () => {
  await using backend = await mockBackend({ body: 'fine' })
  const { observer, calls } = noting()
  const wants = (hook: ObserverHook): boolean => hook === 'onFinish'
  await using running = await runProxy({ target: backend.url, observers: [{ ...observer, wants }] })
  assert.equal((await fetch(running.url)).status, 200)
  await running.nextRecord()
  assert.deepEqual(calls, ['finish answered'])
})

test('diagnostics_channel tells of each request, with the name of its proxy', async (t) => {
  await using backend = await mockBackend({ body: 'fine' })
  await using running = await runProxy({ target: backend.url, name: 'edge' })
  const seen: string[] = []
  for (const name of ['heddle:request', 'heddle:attempt:end', 'heddle:finish']) {
    const note = (message: unknown): void => void seen.push(`${name} ${(message as { proxy: string }).proxy}`)
    channel(name).subscribe(note)
    t.after(() => channel(name).unsubscribe(note))
  }
  assert.equal((await fetch(running.url)).status, 200)
  await running.nextRecord()
  assert.deepEqual(seen, ['heddle:request edge', 'heddle:attempt:end edge', 'heddle:finish edge'])
})
