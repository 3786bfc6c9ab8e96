import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { mentionsFraming } from '../../src/headers/trailers.ts'
import { ResponseParser } from '../../src/http1/response-parser.ts'
import type { HeaderList } from '../../src/index.ts'
import { caseCount, corpus, FakeSocket, inBatches, mutator, seed } from './mutator.ts'

interface Response {
  status: number
  reason: string
  headers: HeaderList
  body: string
  trailers: HeaderList
  isComplete: boolean
  interim: (readonly [number, HeaderList])[]
}

function nothing(): Response {
  return { status: 0, reason: '', headers: [], body: '', trailers: [], isComplete: false, interim: [] }
}

/** What our parser makes of `text` and then the end of the connection. */
function ours(method: string, text: string): Response {
  const found = nothing()
  const parser = new ResponseParser(
    {
      onInformational: ({ status, headers }) => void found.interim.push([status, headers]),
      onHead({ status, reason, headers }) {
        Object.assign(found, { status, reason, headers })
      },
      onData(chunk) {
        found.body += chunk.toString('latin1')
      },
    },
    { maxResponseHeadBytes: 16_384, maxInterimResponses: 100 },
  )
  parser.start(method)
  const bytes = Buffer.from(text, 'latin1')
  found.isComplete = parser.execute(bytes, 0, bytes.length) >= 0 && parser.hasHead && parser.finish()
  found.trailers = parser.trailers ?? []
  return found
}

/** What node's client makes of it. */
function theirs(method: string, text: string): Response {
  const found = nothing()
  const socket = new FakeSocket()
  const note = ({ statusCode, rawHeaders }: http.InformationEvent): void =>
    void found.interim.push([statusCode, rawHeaders])
  http
    .request({ method, createConnection: () => socket, headers: { Host: 'a' } })
    .on('information', note)
    .on('error', () => {})
    .on('upgrade', (_response, other) => other.destroy())
    .on('response', (response) => {
      const { statusCode = 0, statusMessage = '', rawHeaders } = response
      Object.assign(found, { status: statusCode, reason: statusMessage, headers: rawHeaders })
      response
        .on('data', (chunk: Buffer) => {
          found.body += chunk.toString('latin1')
        })
        .on('end', () => {
          found.isComplete = response.complete
          found.trailers = response.rawTrailers
        })
        .on('error', () => {})
    })
    .end()
  setImmediate(() => {
    socket.push(Buffer.from(text, 'latin1'))
    socket.push(null)
  })
  return found
}

/**
 * What we take and node's client does not: a Content-Length that is there twice and says the same (RFC 9112 section 6.3),
 * an interim answer that speaks of the connection, which is the final one's to do, and trailers that speak of framing, which
 * are not passed on.
 */
function isDeliberate({ headers, interim, trailers }: Response): boolean {
  const names = (list: HeaderList): string[] => list.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
  return (
    names(headers).filter((name) => name === 'content-length').length > 1 ||
    mentionsFraming(trailers) ||
    interim.some(([, list]) => names(list).some((name) => name.endsWith('connection')))
  )
}

test('what our response parser accepts means the same to node', async (t) => {
  const count = caseCount(4000)
  t.diagnostic(`FUZZ_SEED=${seed} FUZZ_CASES=${count}`)
  const next = mutator(corpus('responses'), seed)
  let accepted = 0
  await inBatches(
    count,
    (index) => {
      const method = index % 8 === 0 ? 'HEAD' : 'GET'
      const text = next()
      return { method, text, same: theirs(method, text) }
    },
    ({ method, text, same }) => {
      const mine = ours(method, text)
      if (mine.status === 0 || isDeliberate(mine)) return
      accepted++
      const what = `${method} ${JSON.stringify(text)}`
      // How much of a body that is cut comes through is a matter of luck.
      const seen = mine.isComplete ? same : { ...same, body: mine.body, trailers: mine.trailers, isComplete: false }
      assert.deepEqual(mine, seen, what)
    },
  )
  assert.ok(accepted > count / 4, `${accepted} accepted`)
})
