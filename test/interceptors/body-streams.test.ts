import assert from 'node:assert/strict'
import { getEventListeners, once } from 'node:events'
import { type Duplex, PassThrough, Transform } from 'node:stream'
import { test } from 'node:test'
import zlib from 'node:zlib'
import type { ResponseSink } from '../../src/contracts/pool.ts'
import { BodyStreams, type Stage } from '../../src/interceptors/bodies/body-streams.ts'
import { hookError } from '../../src/model/errors.ts'
import { exchangeView } from '../../src/testing/exchange-view.ts'
import { NO_FLOW } from '../support/interceptors.ts'
import { gate, rounds } from '../support/running-proxy.ts'
import { encode } from './codings.ts'

/** A sink that notes its calls. @param takes what `onData` returns. */
function notingSink(takes: (streams: BodyStreams) => boolean = () => true) {
  const calls: string[] = []
  const over = gate()
  let streams: BodyStreams
  const note = (what: string) => void calls.push(what)
  const sink: ResponseSink = {
    onInformational() {},
    onHead: () => note('head'),
    onData(chunk) {
      note(`data ${chunk}`)
      return takes(streams)
    },
    onFlush: () => note('flush'),
    onEnd(trailers) {
      note(trailers === null ? 'end' : `end ${trailers}`)
      over.open()
    },
    onUpgrade() {},
    onError(error) {
      note(`error ${error.message}`)
      over.open()
    },
  }
  const run = (controller: AbortController, ...list: (Duplex | Stage)[]) => {
    const stages = list.map((one, i) =>
      'fault' in one ? one : { stream: one, fault: (cause: unknown) => hookError(`stage ${i}`, cause) },
    )
    const exchange = exchangeView({ signal: controller.signal })
    const head = { status: 200, reason: '', headers: [], bodyBytes: -1 }
    streams = new BodyStreams({ exchange, sink, signal: undefined }, head, NO_FLOW, stages)
    return streams
  }
  return { calls, over: over.promise, run }
}

test('a body passes through all stages, and afterwards nobody listens to the exchange', async () => {
  const { calls, over, run } = notingSink()
  const controller = new AbortController()
  const stages = [zlib.createGunzip(), new PassThrough()]
  const streams = run(controller, ...stages)
  assert.equal(getEventListeners(controller.signal, 'abort').length, 1)
  streams.onData(encode('gzip', 'abc'))
  streams.onEnd(['X-A', '1', 'etag', '"1"', 'Content-Digest', 'x'])
  await over
  assert.deepEqual(
    calls.filter((call) => call !== 'flush'),
    ['head', 'data abc', 'end X-A,1'],
  )
  assert.equal(getEventListeners(controller.signal, 'abort').length, 0)
  await rounds()
  assert.ok(stages.every(({ destroyed }) => destroyed))
})

test('the end of the exchange destroys all stages, and their errors after it have no effect', async () => {
  const { calls, run } = notingSink()
  const controller = new AbortController()
  const stages = [zlib.createGunzip(), zlib.createBrotliDecompress(), new PassThrough()]
  const streams = run(controller, ...stages)
  streams.onData(encode('gzip', 'not brotli'))
  const closed = stages.map((stage) => new Promise((resolve) => stage.on('close', resolve)))
  controller.abort()
  await Promise.all(closed)
  stages[2]?.emit('error', new Error('by design'))
  streams.onData(Buffer.from('late'))
  streams.onEnd(null)
  await rounds()
  assert.deepEqual(calls, [])
})

test('an exchange that has ended before its streams begin destroys them', async () => {
  const { calls, run } = notingSink()
  const controller = new AbortController()
  controller.abort()
  const stage = new PassThrough()
  const streams = run(controller, stage)
  assert.equal(stage.destroyed, true)
  assert.equal(streams.onData(Buffer.from('late')), true)
  streams.onEnd(null)
  await rounds()
  assert.deepEqual(calls, [])
})

test('an error of any stage destroys all of them, and is told once', async () => {
  const { calls, over, run } = notingSink()
  const stages = [zlib.createGunzip(), zlib.createBrotliDecompress(), new PassThrough()]
  const streams = run(new AbortController(), ...stages)
  const closed = stages.map((stage) => new Promise((resolve) => stage.on('close', resolve)))
  streams.onData(encode('gzip', 'this is not brotli at all'))
  await over
  await Promise.all(closed)
  streams.onEnd(null)
  streams.onError(hookError('the backend', new Error('by design')))
  await rounds()
  assert.equal(calls.length, 1)
  assert.match(calls[0] as string, /^error stage 1 threw: /)
})

test('a sink that takes no more and resumes within the same call gets the rest', async () => {
  const { calls, over, run } = notingSink((streams) => {
    streams.resume()
    return false
  })
  const stream = new PassThrough()
  const streams = run(new AbortController(), stream)
  streams.onData(Buffer.from('a'))
  await rounds()
  streams.onData(Buffer.from('b'))
  streams.onEnd(null)
  await over
  assert.deepEqual(
    calls.filter((call) => call !== 'flush'),
    ['head', 'data a', 'data b', 'end'],
  )
})

test('what has come out is flushed at the end of the turn, and the head alone if nothing comes out', async () => {
  const { calls, over, run } = notingSink()
  const streams = run(new AbortController(), new PassThrough())
  await rounds(2)
  assert.deepEqual(calls, ['head', 'flush'])
  streams.onData(Buffer.from('a'))
  await rounds(2)
  assert.deepEqual(calls, ['head', 'flush', 'data a', 'flush'])
  streams.onEnd(null)
  await over
  assert.deepEqual(calls.slice(4), ['end'])
})

test('the head waits until all stages have taken what has arrived, and what others have made of it', async () => {
  const { calls, run } = notingSink()
  const gates = [gate(), gate()]
  let taken = 0
  const doubling = new Transform({
    transform(chunk, _encoding, done) {
      this.push(chunk)
      done(null, chunk)
    },
  })
  const slow = new Transform({
    writableHighWaterMark: 1,
    transform: (_chunk, _encoding, done) => void gates[taken++]?.promise.then(() => done()),
  })
  const streams = run(new AbortController(), doubling, slow)
  streams.onData(Buffer.from('a'))
  for (const [i, { open }] of gates.entries()) {
    await rounds()
    assert.deepEqual([calls, taken], [[], i + 1])
    open()
  }
  await rounds()
  assert.deepEqual(calls, ['head', 'flush'])
  streams.destroy()
})

test('the last stage is flushed once after what has arrived, and not without', async () => {
  const { calls, run } = notingSink()
  const held: Buffer[] = []
  let flushes = 0
  const stream = new Transform({
    transform(chunk, _encoding, done) {
      held.push(chunk)
      done()
    },
  })
  const flush = (done: () => void): void => {
    flushes++
    for (const chunk of held.splice(0)) stream.push(chunk)
    setImmediate(done)
  }
  const streams = run(new AbortController(), { stream, flush, fault: (cause) => hookError('it', cause) })
  await rounds()
  assert.deepEqual([flushes, calls], [0, ['head', 'flush']])
  streams.onData(Buffer.from('a'))
  streams.onData(Buffer.from('b'))
  await rounds()
  assert.deepEqual([flushes, calls.slice(2)], [1, ['data a', 'data b', 'flush']])
  streams.onData(Buffer.from('c'))
  await rounds()
  assert.deepEqual([flushes, calls.slice(5)], [2, ['data c', 'flush']])
  streams.destroy()
})

test('what follows the end of a coded body is left out, whenever it comes', async () => {
  const { calls, over, run } = notingSink()
  const flushed = gate()
  const decoder = zlib.createGunzip()
  const ended = once(decoder, 'end')
  const last = new Transform({
    transform: (chunk, _encoding, done) => done(null, chunk),
    flush: (done) => void flushed.promise.then(() => done()),
  })
  const streams = run(new AbortController(), decoder, last)
  streams.onData(Buffer.concat([encode('gzip', 'abc'), Buffer.alloc(100)]))
  await ended
  assert.equal(streams.onData(Buffer.alloc(1_000_000, 'x')), true)
  streams.onEnd(null)
  flushed.open()
  await over
  assert.deepEqual(
    calls.filter((call) => call !== 'flush'),
    ['head', 'data abc', 'end'],
  )
})

test('nothing is no piece of a body', async () => {
  const { calls, over, run } = notingSink()
  const stream = new Transform({ readableObjectMode: true, transform: (_chunk, _encoding, done) => done(null, '') })
  const streams = run(new AbortController(), stream)
  streams.onData(Buffer.from('a'))
  streams.onEnd(null)
  await over
  assert.deepEqual(
    calls.filter((call) => call !== 'flush'),
    ['head', 'end'],
  )
})
