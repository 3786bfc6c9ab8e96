import assert from 'node:assert/strict'
import { test } from 'node:test'
import { atEndOfTurn } from '../../src/model/turn.ts'

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

test('writers write in order when the turn ends, each as often as it asked', async () => {
  const written: string[] = []
  const writer = (name: string) => ({ writeOut: () => void written.push(name) })
  const one = writer('one')
  atEndOfTurn(one)
  atEndOfTurn(writer('two'))
  atEndOfTurn(one)
  await Promise.resolve()
  assert.deepEqual(written, [])
  await nextTurn()
  assert.deepEqual(written, ['one', 'two', 'one'])
})

test('what a writer asks for while it writes is for the turn after', async () => {
  let count = 0
  const again = {
    writeOut() {
      if (++count < 3) atEndOfTurn(again)
    },
  }
  atEndOfTurn(again)
  await nextTurn()
  assert.equal(count, 1)
  await nextTurn()
  assert.equal(count, 2)
  await nextTurn()
  assert.equal(count, 3)
})
