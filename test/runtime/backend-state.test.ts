import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BackendState } from '../../src/runtime/backend-state.ts'
import type { GroupState } from '../../src/runtime/group-state.ts'
import { SharedStateMemory } from '../../src/runtime/state-memory.ts'

/** The clock's 32 bits wrap 10 ms later. */
const ALMOST = 2 ** 31 - 10

test('an ejection ends once, and does not end the next one', () => {
  const state = new BackendState()
  assert.equal(state.endEjection(5000), false)
  assert.equal(state.eject(1000), true)
  assert.equal(state.eject(9000), false)
  assert.equal(state.endEjection(999), false)
  assert.equal(state.isEjected, true)
  assert.equal(state.endEjection(1000), true)
  assert.equal(state.endEjection(1000), false)
  assert.equal(state.eject(3000), true)
  assert.equal(state.endEjection(1000), false)
  assert.equal(state.uneject(), true)
  assert.equal(state.uneject(), false)
  // The one moment that reads as none.
  assert.equal(state.eject(2 ** 32), true)
  assert.equal(state.isEjected, true)
})

test('an ejection keeps its length across the 32-bit wrap', () => {
  const state = new BackendState()
  state.eject(ALMOST + 100)
  assert.equal(state.ejectionLeftMs(ALMOST), 100)
  assert.equal(state.ejectionLeftMs(ALMOST + 60), 40)
  for (const ms of [0, 99]) assert.equal(state.endEjection(ALMOST + ms), false)
  assert.equal(state.endEjection(ALMOST + 101), true)
})

test('ages are correct across the 32-bit wrap, and never negative', () => {
  const state = new BackendState()
  state.setRtt(1, ALMOST)
  state.setReturned(ALMOST)
  const ages = [20, 0, -5].map((ms) => [state.rttAgeMs(ALMOST + ms), state.returnedAgoMs(ALMOST + ms)])
  assert.deepEqual(ages, [
    [20, 20],
    [0, 0],
    [0, 0],
  ])
})

test('a lease ends in time across the 32-bit wrap', () => {
  const buffer = SharedStateMemory.allocate(2, 0)
  const [one, other] = [0, 1].map((thread) => new SharedStateMemory(buffer, thread).groupState('group')) as [
    GroupState,
    GroupState,
  ]
  assert.equal(one.lead(ALMOST, 3000), true)
  assert.equal(other.lead(ALMOST + 2999, 3000), false)
  assert.equal(other.lead(ALMOST + 3000, 3000), true)
})

test('any sample fits and never reads as no sample', () => {
  const state = new BackendState()
  state.setRtt(0, 0)
  assert.equal(state.rttMs, 0.001)
  state.setRtt(1e9, 0)
  assert.equal(state.rttMs, 2e6)
})

test('clear() resets every state', () => {
  const states = (state: BackendState): unknown[] => [
    state.failures,
    state.isEjected,
    state.ejections,
    state.rttMs,
    state.isUnhealthy,
    state.hasBeenProbed,
    state.isDraining,
    state.isDisabled,
    state.returnedAgoMs(0),
  ]
  const state = new BackendState()
  state.addFailure()
  state.eject(1000)
  state.ejections = 2
  state.setRtt(5, 0)
  state.isUnhealthy = true
  state.setProbed()
  state.isDraining = true
  state.isDisabled = true
  state.setReturned(0)
  assert.deepEqual(states(state), [1, true, 2, 5, true, true, true, true, 0])
  state.clear()
  assert.deepEqual(states(state), states(new BackendState()))
})
