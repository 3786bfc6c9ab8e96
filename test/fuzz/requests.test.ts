import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { RequestReader } from '../../src/fronts/socket/request-reader.ts'
import { mentionsConnection, mentionsFraming } from '../../src/headers/trailers.ts'
import { ChunkedDecoder } from '../../src/http1/chunked.ts'
import type { HeaderList, Lease, Pool } from '../../src/index.ts'
import { runSocketServer } from '../support/running-socket-server.ts'
import { caseCount, corpus, FakeSocket, inBatches, mutator, seed } from './mutator.ts'

interface Request {
  readonly method: string
  readonly target: string
  readonly headers: HeaderList
  body: string
  trailers: HeaderList
  isComplete: boolean
}

const BOUNDS = { maxHeadBytes: 16_384, maxHeaders: 100, maxTargetBytes: 16_384 }
const POLICY = { xfwd: true, via: '', pass: new Set<string>() }
const PEER = { address: '192.0.2.1', localPort: 80, isSecure: false, isTrusted: false }

/** What our reader accepts of `text`, up to the first thing that it does not. */
function ours(text: string): Request[] {
  const reader = new RequestReader(BOUNDS, () => POLICY)
  const bytes = Buffer.from(text, 'latin1')
  const found: Request[] = []
  for (let i = 0; i < bytes.length; ) {
    const length = reader.read(bytes, i, bytes.length, PEER)
    if (length <= 0) break
    i += length
    const { method, target, headers, sent } = reader
    const { bodyBytes } = sent
    const request: Request = {
      method,
      target,
      headers: [...headers],
      body: '',
      trailers: [],
      isComplete: bodyBytes === null,
    }
    found.push(request)
    if (bodyBytes === null) {
      if (reader.sent.saysClose) break
      continue
    }
    if (bodyBytes < 0) {
      const chunks = new ChunkedDecoder()
      i = chunks.execute(bytes, i, bytes.length, (chunk) => {
        request.body += chunk.toString('latin1')
      })
      request.isComplete = chunks.isDone && !mentionsFraming(chunks.trailers ?? [])
      request.trailers = chunks.trailers ?? []
    } else {
      request.body = bytes.toString('latin1', i, i + bodyBytes)
      i += request.body.length
      request.isComplete = request.body.length === bodyBytes
    }
    if (!request.isComplete || reader.sent.saysClose || mentionsConnection(request.trailers)) break
  }
  return found
}

test('what our request parser accepts means the same to node', async (t) => {
  const count = caseCount(4000)
  t.diagnostic(`FUZZ_SEED=${seed} FUZZ_CASES=${count}`)
  const next = mutator(corpus('requests'), seed)
  const theirs = new WeakMap<object, Request[]>()
  const server = http.createServer({ keepAliveTimeout: 0 }, (req) => {
    const request: Request = {
      method: req.method ?? '',
      target: req.url ?? '',
      headers: req.rawHeaders,
      body: '',
      trailers: [],
      isComplete: false,
    }
    theirs.get(req.socket)?.push(request)
    req
      .on('data', (chunk: Buffer) => {
        request.body += chunk.toString('latin1')
      })
      .on('end', () => {
        request.isComplete = true
        request.trailers = req.rawTrailers
      })
      .on('error', () => {})
  })
  server.on('clientError', () => {})
  let accepted = 0
  await inBatches(
    count,
    () => {
      const text = next()
      const socket = new FakeSocket()
      const found: Request[] = []
      theirs.set(socket, found)
      server.emit('connection', socket)
      socket.push(Buffer.from(text, 'latin1'))
      return { text, socket, found }
    },
    ({ text, socket, found }) => {
      const mine = ours(text)
      accepted += mine.length
      for (const [i, request] of mine.entries()) {
        const same = found[i]
        const what = `request ${i + 1} of ${JSON.stringify(text)}`
        assert.ok(same !== undefined, `node does not accept ${what}`)
        if (!request.isComplete) {
          const { method, target, headers } = request
          assert.deepEqual(
            { method, target, headers: same.headers },
            { method: same.method, target: same.target, headers },
            what,
          )
        } else assert.deepEqual(request, same, what)
      }
      socket.destroy()
    },
  )
  assert.ok(accepted > count / 4, `${accepted} accepted`)
})

/** A request as a backend gets it. */
interface Received {
  readonly head: string
  body: string
  trailers: HeaderList | null
  isComplete: boolean
}

const FREE = { resume() {}, retain() {} }

/** A pool whose backend answers every request as soon as it has it. */
function recordingPool(received: Received[]): Pool {
  return {
    acquire: (): Lease => ({
      isReused: false,
      send({ method, path, headers }, body, sink) {
        const one: Received = {
          head: [method, path, ...headers].join('|'),
          body: '',
          trailers: null,
          isComplete: false,
        }
        received.push(one)
        const answer = (trailers: HeaderList | null): void => {
          one.isComplete = true
          one.trailers = trailers
          process.nextTick(() => {
            sink.onHead({ status: 200, reason: 'OK', headers: ['Content-Length', '2'], bodyBytes: 2 }, FREE)
            sink.onData(Buffer.from('ok'))
            sink.onEnd(null)
          })
        }
        if (body === null) return answer(null)
        body.start({
          onBody(chunk) {
            one.body += chunk.toString('latin1')
            return true
          },
          onBodyEnd: answer,
        })
      },
      release() {},
    }),
    stats: () => ({ backends: [] }),
    drain: () => Promise.resolve(),
    close: () => Promise.resolve(),
    destroy() {},
  }
}

test('the same bytes give the same requests at the backend, whether the socket server or node:http reads them', async (t) => {
  const count = caseCount(1000)
  t.diagnostic(`FUZZ_SEED=${seed} FUZZ_CASES=${count}`)
  const next = mutator(corpus('requests'), seed + 1)
  let kept = 0
  for (let done = 0; done < count; done += 25) {
    const texts = Array.from({ length: Math.min(25, count - done) }, next)
    const [ours, bare] = [[], []] as [Seen[], Seen[]]
    for (const [results, own] of [
      [ours, { isBare: false }],
      [bare, { isBare: true }],
    ] as const) {
      const received: Received[] = []
      const pool = recordingPool(received)
      await using run = await runSocketServer({ target: 'http://127.0.0.1:1', pool }, own)
      for (const text of texts) {
        const socket = new FakeSocket()
        const before = received.length
        run.server.emit('connection', socket)
        // In pieces: heads, chunk sizes and trailers are torn where it hurts.
        const bytes = Buffer.from(text, 'latin1')
        const cut = done % 2 === 0 ? bytes.length : Math.floor(bytes.length / 3)
        socket.push(bytes.subarray(0, cut))
        if (cut < bytes.length) {
          await new Promise((resolve) => setImmediate(resolve))
          socket.push(bytes.subarray(cut))
        }
        for (let turn = 0; turn < 6; turn++) await new Promise((resolve) => setImmediate(resolve))
        results.push({ requests: received.slice(before), answers: socket.written })
        socket.destroy()
      }
      if (own.isBare !== true) kept += texts.length - run.handedOver.length
    }
    for (const [i, text] of texts.entries()) {
      const [mine, theirs] = [ours[i] as Seen, bare[i] as Seen]
      const seen = mine.requests.map(comparable)
      const expected = theirs.requests.map(comparable)
      const refused = /400 Bad Request/.test(mine.answers) ? seen.at(-1) : undefined
      // The socket server may refuse in the middle of a body what node lets pass, never the other way round.
      if (refused?.isComplete === false) {
        assert.equal(refused.head, expected[seen.length - 1]?.head, JSON.stringify(text))
        expected.splice(seen.length - 1, expected.length, refused)
      }
      // Behind trailers that speak of the connection the socket server ends it, whatever they say.
      if (ENDING_TRAILERS.test(text)) expected.splice(Math.max(1, seen.length))
      assert.deepEqual(seen, expected, JSON.stringify(text))
    }
  }
  assert.ok(kept > count / 8, `the socket server kept ${kept} connections to itself`)
})

interface Seen {
  readonly requests: readonly Received[]
  readonly answers: string
}

const ENDING_TRAILERS = /\r\n0.*\r\n(?:proxy-connection|connection|upgrade):/is

/** How much of an incomplete body came through is a matter of luck. */
function comparable(one: Received): Received {
  return one.isComplete ? one : { ...one, body: '' }
}
