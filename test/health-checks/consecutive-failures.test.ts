import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HealthControl } from '../../src/contracts/health-check.ts'
import { consecutiveFailures } from '../../src/health-checks/consecutive-failures.ts'
import { Backend } from '../../src/model/backend.ts'
import { ProxyError, type ProxyErrorCode } from '../../src/model/errors.ts'
import type { Outcome, OutcomeKind } from '../../src/model/outcome.ts'

const ok = outcome('answered', 200)
const refused = outcome('failed', 0, 'ERR_PROXY_CONNECT')

test('the fifth failure in a row ejects for 30 seconds, with a reason', () => {
  const { backend, control, ejections } = scene()
  const check = consecutiveFailures()
  for (let i = 0; i < 4; i += 1) check.observe(backend, refused, control)
  assert.equal(ejections.length, 0)
  check.observe(backend, refused, control)
  assert.deepEqual(ejections, [30_000])
  assert.equal(backend.state.failures, 0)
  assert.equal(backend.state.ejections, 1)
  assert.match(control.reason, /^5 failures in a row, the last: ERR_PROXY_CONNECT/)
})

test('a success between failures resets the count', () => {
  const { backend, control, ejections } = scene()
  const check = consecutiveFailures({ consecutiveFailures: 2 })
  for (const each of [refused, ok, refused, outcome('upgraded', 101), refused]) check.observe(backend, each, control)
  assert.deepEqual(ejections, [])
})

test('statuses of gRPC count as the HTTP statuses that say the same', () => {
  const { backend, control, ejections } = scene()
  const check = consecutiveFailures({ consecutiveFailures: 1, statuses: [503] })
  for (const status of [0, 5, 13]) check.observe(backend, outcome('answered', 200, undefined, status), control)
  assert.deepEqual(ejections, [])
  check.observe(backend, outcome('answered', 200, undefined, 14), control)
  assert.equal(ejections.length, 1)
  assert.match(control.reason, /the last: gRPC status 14$/)
})

test('each ejection in a row is twice as long, up to the maximum', () => {
  const { backend, control, ejections } = scene()
  const check = consecutiveFailures({ consecutiveFailures: 1, baseMs: 100, maxMs: 350 })
  for (let i = 0; i < 4; i += 1) {
    check.observe(backend, refused, control)
    backend.state.uneject()
  }
  assert.deepEqual(ejections, [100, 200, 350, 350])
})

test('each success after the return undoes one doubling', () => {
  const { backend, control, ejections } = scene()
  const check = consecutiveFailures({ consecutiveFailures: 1, baseMs: 100 })
  for (let i = 0; i < 3; i += 1) {
    check.observe(backend, refused, control)
    if (i < 2) backend.state.uneject()
  }
  check.observe(backend, ok, control)
  assert.equal(backend.state.ejections, 3)
  backend.state.uneject()
  check.observe(backend, ok, control)
  check.observe(backend, ok, control)
  assert.equal(backend.state.ejections, 1)
  check.observe(backend, refused, control)
  assert.deepEqual(ejections, [100, 200, 400, 200])
})

test('failures during an ejection do not count towards the next one', () => {
  const { backend, control, ejections } = scene()
  const check = consecutiveFailures({ consecutiveFailures: 2 })
  for (let i = 0; i < 20; i += 1) check.observe(backend, refused, control)
  assert.equal(ejections.length, 1)
  assert.equal(backend.state.failures, 0)
})

test('if the group refuses the ejection, the next failure tries again', () => {
  const { backend, control } = scene()
  const asked: number[] = []
  const refusing: HealthControl = { ...control, eject: (_, ms) => asked.push(ms) === 0 }
  const check = consecutiveFailures({ consecutiveFailures: 3 })
  for (let i = 0; i < 4; i += 1) check.observe(backend, refused, refusing)
  assert.equal(asked.length, 2)
  assert.equal(backend.state.ejections, 0)
  check.observe(backend, refused, control)
  assert.equal(backend.state.ejections, 1)
})

test('failures are listed statuses and faults of the backend', () => {
  const cases: [outcome: Outcome, isFailure: boolean][] = [
    [outcome('answered', 503), true],
    [outcome('upgraded', 503), true],
    [outcome('answered', 500), false],
    [outcome('answered', 404), false],
    [outcome('failed', 0, 'ERR_PROXY_CONNECT_TIMEOUT'), true],
    [outcome('failed', 0, 'ERR_PROXY_HEADERS_TIMEOUT'), true],
    [outcome('truncated', 200, 'ERR_PROXY_TRUNCATED'), true],
    [outcome('truncated', 200, 'ERR_PROXY_CLIENT_GONE'), false],
    [outcome('truncated', 503, 'ERR_PROXY_TOTAL_TIMEOUT'), false],
    [outcome('truncated', 101, 'ERR_PROXY_UPGRADE_IDLE_TIMEOUT'), false],
    [outcome('failed', 0, 'ERR_PROXY_ACQUIRE_TIMEOUT'), false],
    [outcome('failed', 0, 'ERR_PROXY_SHORTAGE'), false],
    [outcome('failed', 503, 'ERR_PROXY_SHORTAGE'), false],
    [outcome('failed', 0, 'ERR_PROXY_POOL_FULL'), false],
    [outcome('failed', 0, 'ERR_PROXY_BODY_TOO_LARGE'), false],
    [outcome('aborted', 503, 'ERR_PROXY_CLIENT_GONE'), false],
    [outcome('local', 503), false],
  ]
  for (const [given, isFailure] of cases) {
    const { backend, control, ejections } = scene()
    consecutiveFailures({ consecutiveFailures: 1, statuses: [503] }).observe(backend, given, control)
    assert.equal(ejections.length, isFailure ? 1 : 0, `${given.kind} ${given.status} ${given.error?.code}`)
  }
})

test('without a list no status of a response is a failure', () => {
  const { backend, control, ejections } = scene()
  const check = consecutiveFailures({ consecutiveFailures: 1 })
  for (const status of [500, 502, 503, 504]) check.observe(backend, outcome('answered', status), control)
  assert.deepEqual(ejections, [])
})

test('an outcome that is neither failure nor success keeps the count', () => {
  const { backend, control } = scene()
  const check = consecutiveFailures()
  check.observe(backend, refused, control)
  check.observe(backend, outcome('failed', 0, 'ERR_PROXY_POOL_FULL'), control)
  assert.equal(backend.state.failures, 1)
})

test('the list of statuses is copied', () => {
  const { backend, control, ejections } = scene()
  const statuses = [500]
  const check = consecutiveFailures({ consecutiveFailures: 1, statuses })
  statuses.push(200)
  check.observe(backend, ok, control)
  check.observe(backend, outcome('answered', 503), control)
  assert.deepEqual(ejections, [])
  check.observe(backend, outcome('answered', 500), control)
  assert.deepEqual(ejections, [30_000])
})

function scene() {
  const backend = new Backend('http://127.0.0.1:1')
  const ejections: number[] = []
  const control = {
    reason: '',
    eject(ejected: Backend, ms: number, reason: string) {
      control.reason = reason
      ejections.push(ms)
      ejected.state.eject(ms)
      return true
    },
    setUnhealthy() {},
  }
  return { backend, control, ejections }
}

function outcome(kind: OutcomeKind, status: number, code?: ProxyErrorCode, grpcStatus: number | null = null): Outcome {
  const error = code === undefined ? null : new ProxyError(code, 'scripted')
  return { kind, status, grpcStatus, error, firstByteMs: status === 0 ? -1 : 1, totalMs: 2 }
}
