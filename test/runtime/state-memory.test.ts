import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { PrivateStateMemory, privateStateMemory, SharedStateMemory } from '../../src/runtime/state-memory.ts'

const SLOT_BYTES = 64

test('a name has the same state in every thread', () => {
  const buffer = SharedStateMemory.allocate(3, 0)
  const memories = [0, 1, 2].map((thread) => new SharedStateMemory(buffer, thread))
  const state = memories.map((memory) => memory.backendState('a'))
  state[0]?.addPending(1)
  state[2]?.addPending(1)
  state[1]?.addFailure()
  for (const one of state) assert.deepEqual([one.pending, one.failures], [2, 1])
  assert.equal(memories[1]?.backendState('b').pending, 0)
})

test('a later memory finds the existing state', () => {
  const buffer = SharedStateMemory.allocate(2, 0)
  new SharedStateMemory(buffer, 0).backendState('a').isDraining = true
  assert.equal(new SharedStateMemory(buffer, 1).backendState('a').isDraining, true)
})

test('each name has its own 64 bytes', () => {
  const names = Array.from({ length: 3000 }, (_, i) => `backend ${i}`)
  const memory = new SharedStateMemory(SharedStateMemory.allocate(1, 0), 0)
  const offsets = new Set(names.map((name) => memory.counters(name).byteOffset))
  assert.equal(offsets.size, names.length)
  for (const offset of offsets) assert.equal(offset % SLOT_BYTES, 0)
  for (const [i, name] of names.entries()) memory.counters(name).fill(i)
  for (const [i, name] of names.entries()) assert.deepEqual(new Set(memory.counters(name)), new Set([i]))
})

test('names get the same slots in any order', () => {
  const buffer = SharedStateMemory.allocate(2, 0)
  const names = Array.from({ length: 500 }, (_, i) => `n${i}`)
  const first = names.map((name) => new SharedStateMemory(buffer, 0).counters(name).byteOffset)
  const second = names.toReversed().map((name) => new SharedStateMemory(buffer, 1).counters(name).byteOffset)
  assert.deepEqual(second.toReversed(), first)
})

test('too many names throw a clear error, and existing ones are still found', () => {
  const memory = new SharedStateMemory(SharedStateMemory.allocate(1, 0), 0)
  for (let i = 0; i < 16_384; i++) memory.counters(`n${i}`)
  assert.throws(() => memory.counters('one more'), /threads can share the state of at most 16384 backends/)
  assert.doesNotThrow(() => memory.counters('n16383'))
})

test('there is room for twice what is configured', () => {
  const memory = new SharedStateMemory(SharedStateMemory.allocate(5, 10_000), 4)
  const offsets = new Set(Array.from({ length: 20_000 }, (_, i) => memory.counters(`n${i}`).byteOffset))
  assert.equal(offsets.size, 20_000)
  memory.backendState('n19999').addPending(1)
  memory.takeBack(4)
  assert.equal(memory.backendState('n19999').pending, 0)
})

test('a released slot is cleared and reused; other names keep their slots', () => {
  const buffer = SharedStateMemory.allocate(2, 0)
  const [here, there] = [new SharedStateMemory(buffer, 0), new SharedStateMemory(buffer, 1)]
  const names = (letter: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${letter}${i}`)
  for (const name of names('a', 16_384)) here.backendState(name).addFailure()
  const [gone, left] = [names('a', 100), names('a', 16_384).slice(100)]
  for (const name of gone) here.release(name)
  here.release('never there')
  for (const name of names('b', 100)) assert.equal(here.backendState(name).failures, 0)
  for (const name of left) assert.equal(there.backendState(name).failures, 1)
  assert.throws(() => there.backendState('a0'), RangeError)
  for (const name of left) here.release(name)
  for (const name of names('c', 500)) assert.equal(there.backendState(name).failures, 0)
})

test('names are found as fast after any number of others came and went', (t) => {
  const memory = new SharedStateMemory(SharedStateMemory.allocate(2, 0), 0)
  const count = 16_384
  for (let i = 0; i < count; i++) memory.backendState(`n${i}`)
  for (let i = 0; i < 200_000; i++) {
    memory.release(`n${i}`)
    memory.backendState(`n${i + count}`)
  }
  const loads = t.mock.method(Atomics, 'load')
  for (let i = 0; i < 1000; i++) memory.release(`never there ${i}`)
  const perSearch = loads.mock.callCount() / 1000
  assert.ok(perSearch < 30, `${perSearch} loads a search`)
})

test('takeBack() subtracts the pending counts of one thread only', () => {
  const buffer = SharedStateMemory.allocate(3, 0)
  const here = new SharedStateMemory(buffer, 0)
  const [one, two] = [new SharedStateMemory(buffer, 1), new SharedStateMemory(buffer, 2)]
  for (const name of ['a', 'b']) {
    one.backendState(name).addPending(1)
    one.backendState(name).addPending(1)
    two.backendState(name).addPending(1)
  }
  one.backendState('a').addPending(-1)
  here.takeBack(1)
  assert.deepEqual([here.backendState('a').pending, here.backendState('b').pending], [1, 1])
  here.takeBack(1)
  assert.deepEqual([here.backendState('a').pending, here.backendState('b').pending], [1, 1])
  // The next thread in the same place begins with nothing.
  new SharedStateMemory(buffer, 1).backendState('a').addPending(1)
  here.takeBack(1)
  assert.equal(here.backendState('a').pending, 1)
})

test('private state is kept by name until it is released', () => {
  const memory = new PrivateStateMemory()
  memory.backendState('a').addPending(1)
  assert.deepEqual([memory.backendState('a').pending, memory.backendState('b').pending], [1, 0])
  memory.release('a')
  assert.equal(memory.backendState('a').pending, 0)
  assert.deepEqual([memory.isShared, memory.counters().length], [false, 7])
})

test('privateStateMemory returns new state with each call', () => {
  privateStateMemory.backendState('a').addPending(1)
  assert.equal(privateStateMemory.backendState('a').pending, 0)
  assert.equal(privateStateMemory.counters('a').length, 7)
})

test('concurrent threads lose no counts and no slots', async () => {
  const buffer = SharedStateMemory.allocate(4, 0)
  const module = new URL('../../src/runtime/state-memory.js', import.meta.url).href
  const source = `
    const { workerData: { buffer, thread, module } } = require('node:worker_threads')
    import(module).then(({ SharedStateMemory }) => {
      const memory = new SharedStateMemory(buffer, thread)
      const all = Array.from({ length: 200 }, (_, i) => memory.backendState('backend ' + i))
      for (let round = 0; round < 100; round++) for (const state of all) state.addPending(1)
    })`
  const workers = [1, 2, 3].map(
    (thread) => new Worker(source, { eval: true, workerData: { buffer, thread, module }, execArgv: [] }),
  )
  await Promise.all(workers.map((worker) => once(worker, 'exit')))
  const memory = new SharedStateMemory(buffer, 0)
  for (let i = 0; i < 200; i++) assert.equal(memory.backendState(`backend ${i}`).pending, 300)
  for (const thread of [1, 2, 3]) memory.takeBack(thread)
  for (let i = 0; i < 200; i++) assert.equal(memory.backendState(`backend ${i}`).pending, 0)
})
