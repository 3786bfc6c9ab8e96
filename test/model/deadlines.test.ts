import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadlines, type Timed, UNWATCHED } from '../../src/model/deadlines.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'

function timed(deadline: number, onDeadline: () => void): Timed {
  return { deadline, place: UNWATCHED, onDeadline }
}

test('a deadline is noticed once, soon after its time and not before', () => {
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

test('moving a deadline is a write', () => {
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

test('what is removed is forgotten; an entry may come back from its own call', () => {
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

test('an entry that comes back without a later deadline is called once a tick, not for ever', () => {
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

test('what is taken off from among others leaves each of them watched', () => {
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
