import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadlines, UNWATCHED } from '../../src/runtime/deadlines.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'

test('only advance() moves the time, and the wall clock with it', () => {
  const clock = manualClock(500, { epochMs: 1000 })
  assert.deepEqual([clock.now(), clock.epoch()], [500, 1000])
  clock.advance(250)
  assert.deepEqual([clock.now(), clock.epoch()], [750, 1250])
  assert.throws(() => clock.advance(-1), RangeError)
  assert.throws(() => clock.advance(Number.NaN), RangeError)
})

test('tasks run in order of time, then of scheduling', () => {
  const clock = manualClock()
  const ran: string[] = []
  const run = (name: string) => () => void ran.push(`${name}@${clock.now()}`)
  clock.schedule(20, run('c'))
  clock.schedule(10, run('a'))
  clock.schedule(10, run('b'))
  clock.schedule(31, run('late'))
  clock.schedule(-5, run('at once'))
  clock.advance(30)
  assert.deepEqual(ran, ['at once@0', 'a@10', 'b@10', 'c@20'])
  assert.equal(clock.now(), 30)
  assert.equal(clock.scheduled, 1)
})

test('a task scheduled by a task runs in the same advance if due', () => {
  const clock = manualClock()
  const ran: number[] = []
  const cancel = clock.schedule(15, () => ran.push(-1))
  clock.schedule(10, () => {
    ran.push(clock.now())
    cancel()
    clock.schedule(10, () => ran.push(clock.now()))
    clock.schedule(11, () => ran.push(clock.now()))
  })
  clock.advance(20)
  assert.deepEqual(ran, [10, 20])
  cancel()
  clock.advance(1)
  assert.deepEqual(ran, [10, 20, 21])
})

test('an error of a task is thrown, and the others stay scheduled', () => {
  const clock = manualClock()
  clock.schedule(1, () => {
    throw new Error('task')
  })
  clock.schedule(2, () => {})
  assert.throws(() => clock.advance(5), /task/)
  assert.deepEqual([clock.now(), clock.scheduled], [1, 1])
})

test('random numbers are reproducible by seed', () => {
  const draw = (seed: number): number[] => {
    const clock = manualClock(0, { seed })
    return Array.from({ length: 100 }, () => clock.random())
  }
  assert.deepEqual(draw(1), draw(1))
  assert.notDeepEqual(draw(1), draw(2))
  assert.ok(draw(3).every((value) => value >= 0 && value < 1))
})

test('it drives Deadlines', () => {
  const clock = manualClock()
  const deadlines = new Deadlines(clock)
  let passed = 0
  deadlines.add({ deadline: 50, index: UNWATCHED, onDeadline: () => void passed++ })
  clock.advance(49)
  assert.equal(passed, 0)
  clock.advance(20)
  assert.equal(passed, 1)
  assert.equal(clock.scheduled, 0)
})
