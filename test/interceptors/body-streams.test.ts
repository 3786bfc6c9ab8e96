import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { type Duplex, PassThrough } from 'node:stream'
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
  const run = (controller: AbortController, ...list: Duplex[]) => {
    const stages = list.map(
      (stream): Stage => ({ stream, fault: (cause) => hookError(`stage ${list.indexOf(stream)}`, cause) }),
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

test('the head waits until all stages have taken what has arrived', async () => {
  const { calls, run } = notingSink()
  const taken = gate()
  const slow = new PassThrough()
  slow._transform = (_chunk, _encoding, done) => void taken.promise.then(() => done())
  const streams = run(new AbortController(), new PassThrough(), slow)
  streams.onData(Buffer.from('a'))
  await rounds()
  assert.deepEqual(calls, [])
  taken.open()
  await rounds()
  assert.deepEqual(calls, ['head', 'flush'])
  streams.destroy()
})
