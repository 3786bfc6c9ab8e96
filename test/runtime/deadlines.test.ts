import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadlines, type Timed, UNWATCHED } from '../../src/runtime/deadlines.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'

function timed(deadline: number, onDeadline: () => void): Timed {
  return { deadline, index: UNWATCHED, onDeadline }
}

test('a deadline is noticed once, soon after its time', () => {
  const clock = manualClock()
  const deadlines = new Deadlines(clock)
  let calls = 0
  deadlines.add(timed(clock.now() + 100, () => calls++))
  clock.advance(99)
  assert.equal(calls, 0)
  clock.advance(40)
  assert.equal(calls, 1)
  clock.advance(1000)
  assert.equal(calls, 1)
  assert.equal(deadlines.size, 0)
})

test('a write moves a deadline', () => {
  const clock = manualClock()
  const deadlines = new Deadlines(clock)
  let calls = 0
  const entry = timed(clock.now() + 100, () => calls++)
  deadlines.add(entry)
  clock.advance(90)
  entry.deadline = clock.now() + 100
  clock.advance(90)
  assert.equal(calls, 0)
  clock.advance(60)
  assert.equal(calls, 1)
})

test('a removed entry is forgotten; an entry may add itself again', () => {
  const clock = manualClock()
  const deadlines = new Deadlines(clock)
  const gone = timed(clock.now() + 10, () => assert.fail('removed'))
  deadlines.add(gone)
  deadlines.remove(gone)
  let calls = 0
  const again = timed(clock.now() + 10, () => {
    if (++calls > 1) return
    again.deadline = clock.now() + 50
    deadlines.add(again)
  })
  deadlines.add(again)
  clock.advance(500)
  assert.equal(calls, 2)
})

test('an entry added again with a past deadline is called once a tick', () => {
  const clock = manualClock()
  const deadlines = new Deadlines(clock)
  let calls = 0
  const stubborn = timed(clock.now() + 10, () => {
    assert.ok(++calls < 100)
    deadlines.add(stubborn)
  })
  deadlines.add(stubborn)
  clock.advance(100)
  assert.ok(calls >= 1 && calls <= 10, String(calls))
})

test('a removal keeps all other entries', () => {
  const clock = manualClock()
  const deadlines = new Deadlines(clock)
  const called: number[] = []
  const entries = [1, 2, 3, 4].map((id) => timed(clock.now() + 100, () => called.push(id)))
  for (const entry of entries) deadlines.add(entry)
  const [first, second] = entries as [Timed, Timed]
  deadlines.add(first)
  assert.equal(deadlines.size, 4)
  deadlines.remove(second)
  deadlines.remove(second)
  deadlines.remove(first)
  assert.equal(deadlines.size, 2)
  clock.advance(200)
  assert.deepEqual(called.sort(), [3, 4])
})

test('an entry that throws is reported and does not affect others', () => {
  const clock = manualClock()
  const told: unknown[] = []
  const deadlines = new Deadlines(clock, (error) => told.push(error))
  const called: string[] = []
  const oops = (name: string) => () => {
    throw name
  }
  deadlines.add(timed(clock.now() + 10, oops('first')))
  deadlines.add(timed(clock.now() + 10, () => called.push('with it')))
  deadlines.add(timed(clock.now() + 10, oops('second')))
  deadlines.add(timed(clock.now() + 100, () => called.push('later')))
  clock.advance(20)
  assert.deepEqual([called, told], [['with it'], ['first', 'second']])
  clock.advance(100)
  assert.deepEqual(called, ['with it', 'later'])
})

/** A clock whose process stands still: what is due comes only when it goes on. */
function stallingClock() {
  const clock = manualClock()
  let stalledMs = 0
  return {
    ...clock,
    now: () => clock.now() + stalledMs,
    stand(ms: number) {
      stalledMs += ms
    },
  }
}

test('after a stall no deadline is checked for as long, at most a second', () => {
  for (const [stallMs, drainTimeoutMs] of [
    [900, 900],
    [3_600_000, 1000],
  ] as const) {
    const clock = stallingClock()
    const deadlines = new Deadlines(clock)
    let calls = 0
    deadlines.add(timed(clock.now() + 400, () => calls++))
    clock.advance(30)
    clock.stand(stallMs)
    clock.advance(20 + drainTimeoutMs)
    assert.equal(calls, 0)
    clock.advance(30)
    assert.equal(calls, 1)
  }
})

test('a second stall does not use up the grace period', () => {
  const clock = manualClock()
  let untilMs = 0
  const leftMs = (): number => Math.max(0, untilMs - clock.now())
  /** What falls due meanwhile comes at the end. */
  function stand(ms: number): void {
    untilMs = clock.now() + ms
    clock.advance(ms)
  }
  const deadlines = new Deadlines({
    ...clock,
    now: () => clock.now() + leftMs(),
    schedule: (delayMs, task) => clock.schedule(delayMs + leftMs(), task),
  })
  let calls = 0
  deadlines.add(timed(Number.POSITIVE_INFINITY, () => {}))
  stand(900)
  clock.advance(100)
  deadlines.add(timed(clock.now() + 400, () => calls++))
  stand(900)
  clock.advance(700)
  assert.equal(calls, 0)
  clock.advance(200)
  assert.equal(calls, 1)
})

test('a deadline that was moved after a stall holds', () => {
  const clock = stallingClock()
  const deadlines = new Deadlines(clock)
  let calls = 0
  const entry = timed(clock.now() + 400, () => calls++)
  deadlines.add(entry)
  clock.stand(900)
  clock.advance(40)
  entry.deadline = clock.now() + 5000
  clock.advance(4960)
  assert.equal(calls, 0)
  clock.advance(80)
  assert.equal(calls, 1)
})

test('deadlines are noticed even if every turn is late', () => {
  const clock = stallingClock()
  const deadlines = new Deadlines(clock)
  let calls = 0
  deadlines.add(timed(clock.now() + 400, () => calls++))
  for (let turn = 0; turn < 10; turn++) {
    clock.stand(200)
    clock.advance(250)
  }
  assert.equal(calls, 1)
})
