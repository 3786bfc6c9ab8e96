import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { ProxyResponse, type Source } from '../../../src/compat/http-proxy/proxy-response.ts'
import { showBody } from '../../../src/compat/http-proxy/shown-body.ts'

/** A response to a client that takes a piece when it is told to, and a watcher that reads when it is told to. */
function slowBoth() {
  let take: () => void = () => {}
  const res = new Writable({
    highWaterMark: 1,
    write(_chunk, _encoding, done) {
      take = done
    },
  })
  let ready: () => void = () => {}
  const source: Source = { isTaken: false, onObserved() {}, onReady: () => ready() }
  const watched = new ProxyResponse(200, '', [], source, null)
  watched.on('readable', () => {})
  ready = showBody(res as unknown as ServerResponse, watched)
  let drains = 0
  res.on('drain', () => drains++)
  return { res, watched, take: () => take(), drains: () => drains }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))
const LARGE = Buffer.alloc(200_000, 'x')

test('a writer waits until both the client and the watcher have room, whichever comes first', async () => {
  for (const isClientFirst of [true, false]) {
    const { res, watched, take, drains } = slowBoth()
    assert.equal(res.write(LARGE), false)
    assert.equal(res.writableNeedDrain, true)
    const steps = [take, () => void watched.read()]
    const [first, second] = isClientFirst ? steps : steps.reverse()
    first?.()
    await turn()
    assert.deepEqual([drains(), res.writableNeedDrain], [0, true])
    second?.()
    await turn()
    assert.deepEqual([drains(), res.writableNeedDrain], [1, false])
  }
})

test('a writer that only the watcher holds up waits for it alone', async () => {
  const { res, watched, take, drains } = slowBoth()
  res.write(LARGE)
  take()
  await turn()
  assert.equal(drains(), 0)
  watched.read()
  await turn()
  assert.equal(drains(), 1)
})
