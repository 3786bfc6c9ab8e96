import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { addToWriteBatch } from '../../src/runtime/write-batch.ts'

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

test('writers write in order at the end of the turn', async () => {
  const written: string[] = []
  const writer = (name: string) => ({ writeOut: () => void written.push(name), onWriteThrew: assert.ifError })
  const one = writer('one')
  addToWriteBatch(one)
  addToWriteBatch(writer('two'))
  addToWriteBatch(one)
  await Promise.resolve()
  assert.deepEqual(written, [])
  await nextTurn()
  assert.deepEqual(written, ['one', 'two', 'one'])
})

test('a writer added during a batch writes in the next one', async () => {
  let count = 0
  const again = {
    writeOut() {
      if (++count < 3) addToWriteBatch(again)
    },
    onWriteThrew: assert.ifError,
  }
  addToWriteBatch(again)
  await nextTurn()
  assert.equal(count, 1)
  await nextTurn()
  assert.equal(count, 2)
  await nextTurn()
  assert.equal(count, 3)
})

test('a writer that throws is notified and does not affect others', async () => {
  const written: string[] = []
  const told: unknown[] = []
  const fails = (name: string) => ({
    writeOut() {
      throw new Error(name)
    },
    onWriteThrew: (error: unknown) => void told.push((error as Error).message),
  })
  const writer = (name: string) => ({ writeOut: () => void written.push(name), onWriteThrew: assert.ifError })
  for (let turn = 1; turn <= 3; turn++) {
    addToWriteBatch(fails(`first of ${turn}`))
    addToWriteBatch(writer(`a${turn}`))
    addToWriteBatch(fails(`second of ${turn}`))
    addToWriteBatch(writer(`b${turn}`))
    await nextTurn()
  }
  assert.deepEqual(written, ['a1', 'b1', 'a2', 'b2', 'a3', 'b3'])
  assert.equal(told.length, 6)
  assert.equal(told[5], 'second of 3')
})

test('an error in onWriteThrew() is a process warning', async () => {
  const warning = once(process, 'warning')
  const written: string[] = []
  const oops = (): never => {
    throw new Error('oops')
  }
  addToWriteBatch({ writeOut: oops, onWriteThrew: oops })
  addToWriteBatch({ writeOut: () => void written.push('other'), onWriteThrew: assert.ifError })
  const [{ message, code }] = (await warning) as [Error & { code: string }]
  assert.deepEqual([message, code], ['a writer threw: oops', 'HEDDLE_CALLBACK_THREW'])
  assert.deepEqual(written, ['other'])
})
