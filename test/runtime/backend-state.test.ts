import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BackendState } from '../../src/runtime/backend-state.ts'
import { SharedStateMemory } from '../../src/runtime/state-memory.ts'

/** The clock's 32 bits wrap 10 ms later. */
const ALMOST = 2 ** 31 - 10

test('an ejection ends in its time, once, and never the next one with it', () => {
  const cells = new BackendState()
  assert.equal(cells.endEjection(5000), false)
  assert.equal(cells.eject(1000), true)
  assert.equal(cells.eject(9000), false)
  assert.equal(cells.endEjection(999), false)
  assert.equal(cells.isEjected, true)
  assert.equal(cells.endEjection(1000), true)
  assert.equal(cells.endEjection(1000), false)
  assert.equal(cells.eject(3000), true)
  assert.equal(cells.endEjection(1000), false)
  assert.equal(cells.uneject(), true)
  assert.equal(cells.uneject(), false)
  // The one moment that reads as none.
  assert.equal(cells.eject(2 ** 32), true)
  assert.equal(cells.isEjected, true)
})

test('an ejection has its length across the wrap of 32 bits', () => {
  const cells = new BackendState()
  cells.eject(ALMOST + 100)
  assert.equal(cells.ejectionLeftMs(ALMOST), 100)
  assert.equal(cells.ejectionLeftMs(ALMOST + 60), 40)
  for (const ms of [0, 99]) assert.equal(cells.endEjection(ALMOST + ms), false)
  assert.equal(cells.endEjection(ALMOST + 101), true)
})

test('the age of a sample, and of a return, is right across the wrap, and never less than 0', () => {
  const cells = new BackendState()
  cells.setRtt(1, ALMOST)
  cells.setReturned(ALMOST)
  const ages = [20, 0, -5].map((ms) => [cells.rttAgeMs(ALMOST + ms), cells.returnedAgoMs(ALMOST + ms)])
  assert.deepEqual(ages, [
    [20, 20],
    [0, 0],
    [0, 0],
  ])
})

test('a lease ends in its time across the wrap', () => {
  const buffer = SharedStateMemory.allocate(2)
  const [one, other] = [0, 1].map((thread) => new SharedStateMemory(buffer, thread).cells('group')) as [
    BackendState,
    BackendState,
  ]
  assert.equal(one.lead(ALMOST, 3000), true)
  assert.equal(other.lead(ALMOST + 2999, 3000), false)
  assert.equal(other.lead(ALMOST + 3000, 3000), true)
})

test('a sample never reads as none, and fits whatever it is', () => {
  const cells = new BackendState()
  cells.setRtt(0, 0)
  assert.equal(cells.rttMs, 0.001)
  cells.setRtt(1e9, 0)
  assert.equal(cells.rttMs, 2e6)
})

test('nothing that a backend was is left when its states are cleared', () => {
  const states = (cells: BackendState): unknown[] => [
    cells.failures,
    cells.isEjected,
    cells.ejections,
    cells.rttMs,
    cells.isUnhealthy,
    cells.hasBeenProbed,
    cells.isDraining,
    cells.isDisabled,
    cells.returnedAgoMs(0),
  ]
  const cells = new BackendState()
  cells.addFailure()
  cells.eject(1000)
  cells.ejections = 2
  cells.setRtt(5, 0)
  cells.isUnhealthy = true
  cells.setProbed()
  cells.isDraining = true
  cells.isDisabled = true
  cells.setReturned(0)
  assert.deepEqual(states(cells), [1, true, 2, 5, true, true, true, true, 0])
  cells.clear()
  assert.deepEqual(states(cells), states(new BackendState()))
})
