import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GroupState } from '../../src/runtime/group-state.ts'
import { SharedStateMemory } from '../../src/runtime/state-memory.ts'

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))

test('a listener gets each change of another thread, until it stops', async () => {
  const buffer = SharedStateMemory.allocate(2, 0)
  const [here, there] = [0, 1].map((thread) => new SharedStateMemory(buffer, thread).groupState('group'))
  assert.ok(here !== undefined && there !== undefined)
  let heard = 0
  let hear = (): void => {}
  const stop = here.onChange(() => {
    heard++
    hear()
  })
  for (let change = 1; change <= 3; change++) {
    const next = new Promise<void>((resolve) => {
      hear = resolve
    })
    assert.equal(there.addChange(), change)
    await next
    assert.equal(heard, change)
  }
  stop()
  there.addChange()
  await turn()
  assert.equal(heard, 3)
})

test('in private memory there are no changes of other threads', async () => {
  const state = new GroupState()
  const stop = state.onChange(() => assert.fail())
  state.addChange()
  await turn()
  stop()
})

test('the last eight changes name their slots, also across the 32-bit wrap', () => {
  for (const before of [0, 2 ** 31 - 4, -4, 12_345]) {
    const cells = new Int32Array(16)
    cells[0] = before
    const state = new GroupState(cells)
    for (let slot = 100; slot < 108; slot++) state.addChange(slot)
    const now = state.changes
    assert.deepEqual(state.changedSlots(before, now), [100, 101, 102, 103, 104, 105, 106, 107])
    assert.deepEqual(state.changedSlots((now - 2) | 0, now), [106, 107])
    assert.deepEqual(state.changedSlots(now, now), [])
    state.addChange(0)
    assert.deepEqual(state.changedSlots(now, state.changes), [0])
    // Of the first of the nine nothing is known any more, and nothing of one that was more than a backend.
    assert.equal(state.changedSlots(before, state.changes), null)
    state.addChange()
    assert.equal(state.changedSlots(now, state.changes), null)
    state.addChange(2 ** 21)
    assert.equal(state.changedSlots((state.changes - 1) | 0, state.changes), null)
  }
})

test('a change without its entry yet is not mistaken for an older one', () => {
  const cells = new Int32Array(16)
  const state = new GroupState(cells)
  for (let slot = 0; slot < 8; slot++) state.addChange(slot)
  // Counted by another thread, which writes next whose it is.
  cells[0] = 9
  assert.equal(state.changedSlots(8, 9), null)
})
