import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GroupState } from '../../src/runtime/group-state.ts'
import { SharedStateMemory } from '../../src/runtime/state-memory.ts'

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))

test('who listens hears of each change of another thread soon, until it stops', async () => {
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

test('in memory of one thread there is nobody to hear of', async () => {
  const state = new GroupState()
  const stop = state.onChange(() => assert.fail())
  state.addChange()
  await turn()
  stop()
})
