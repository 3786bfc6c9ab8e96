import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ResponseParser } from '../../src/http1/response-parser.ts'
import type { ResponseHead } from '../../src/model/message.ts'

interface Read {
  informational: ResponseHead[]
  head: ResponseHead | null
  body: string
  trailers: string[] | null
  isDone: boolean
  keepAlive: boolean
  fault: string | null
  /** Bytes behind the response. */
  rest: number
}

/** Feeds `wire` in pieces that end at `cuts`; then, unless told otherwise, the connection ends. */
function read(
  wire: string,
  { method = 'GET', cuts = [] as number[], closes = false, maxHeadBytes = 65536 } = {},
): Read {
  const bytes = Buffer.from(wire, 'latin1')
  const result: Read = {
    informational: [],
    head: null,
    body: '',
    trailers: null,
    isDone: false,
    keepAlive: false,
    fault: null,
    rest: 0,
  }
  const parser = new ResponseParser(
    {
      onInformational: (head) => result.informational.push(head),
      onHead: (head) => {
        result.head = head
      },
      onData: (chunk) => {
        result.body += chunk.toString('latin1')
      },
    },
    { maxResponseHeadBytes: maxHeadBytes, maxInterimResponses: 100 },
  )
  parser.start(method)
  // As in a connection: one buffer that holds older bytes behind the new ones.
  const buffer = Buffer.alloc(bytes.length, '\r\n\r\n')
  let from = 0
  for (const to of [...cuts, bytes.length]) {
    const length = bytes.copy(buffer, 0, from, to)
    from = to
    if (length === 0) continue
    const consumed = parser.execute(buffer, 0, length)
    if (consumed < 0) return { ...result, fault: parser.fault }
    result.rest += length - consumed
  }
  if (closes) parser.finish()
  return { ...result, isDone: parser.isDone, keepAlive: parser.framing.keepAlive, trailers: parser.trailers }
}

const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'

test('a response with Content-Length ends there and keeps the connection', () => {
  const { head, body, isDone, keepAlive } = read('HTTP/1.1 200 Fine Thing\r\nContent-Length: 5\r\nX: y\r\n\r\nhello')
  assert.deepEqual(head, {
    status: 200,
    reason: 'Fine Thing',
    headers: ['Content-Length', '5', 'X', 'y'],
    bodyBytes: 5,
  })
  assert.equal(body, 'hello')
  assert.ok(isDone && keepAlive)
})

test('a tab in Transfer-Encoding is refused, since node reads it differently', () => {
  const body = '5\r\nhello\r\n0\r\n\r\n'
  assert.notEqual(read(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n${body}`).fault, null)
  assert.equal(read(`HTTP/1.1 200 OK\r\nX-A:\tb\r\nTransfer-Encoding: chunked\r\n\r\n${body}`).fault, null)
})

test('bytes after the response are not read', () => {
  const { body, rest, isDone } = read('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n')
  assert.equal(body, 'hi')
  assert.ok(isDone)
  assert.equal(rest, 'HTTP/1.1 200 OK\r\n\r\n'.length)
})

test('chunks are joined, extensions skipped, trailers returned', () => {
  const { body, trailers, isDone } = read(`${CHUNKED}5;a=b\r\nhello\r\n06\r\n world\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n`)
  assert.equal(body, 'hello world')
  assert.deepEqual(trailers, ['X-Sum', '1', 'Y', '2'])
  assert.ok(isDone)
})

test('without framing the body ends only with the connection', () => {
  const wire = 'HTTP/1.1 200 OK\r\n\r\nall of it'
  assert.equal(read(wire).isDone, false)
  const closed = read(wire, { closes: true })
  assert.ok(closed.isDone)
  assert.equal(closed.keepAlive, false)
})

test('an end in the middle of a framed body does not complete it', () => {
  assert.equal(read('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel', { closes: true }).isDone, false)
  assert.equal(read(`${CHUNKED}5\r\nhello\r\n`, { closes: true }).isDone, false)
})

test('HEAD, 204 and 304 have no body, whatever their headers announce', () => {
  assert.ok(read('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', { method: 'HEAD' }).isDone)
  assert.ok(read(CHUNKED, { method: 'HEAD' }).isDone)
  assert.ok(read('HTTP/1.1 204 No Content\r\n\r\n').isDone)
  assert.ok(read('HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n').isDone)
})

test('interim responses come before the final one', () => {
  const { informational, head } = read(
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  )
  assert.deepEqual(
    informational.map(({ status }) => status),
    [103, 100],
  )
  assert.equal(head?.status, 200)
})

test('a status line without a reason, with or without the space before it', () => {
  assert.equal(read('HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n').head?.reason, '')
  assert.equal(read('HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n').head?.reason, '')
})

test('persistence: HTTP/1.1 unless close, HTTP/1.0 only with keep-alive', () => {
  const keepAlive = (version: string, connection: string): boolean =>
    read(`HTTP/${version} 200 OK\r\n${connection}Content-Length: 0\r\n\r\n`).keepAlive
  assert.equal(keepAlive('1.1', ''), true)
  assert.equal(keepAlive('1.1', 'Connection: foo, Close\r\n'), false)
  assert.equal(keepAlive('1.0', ''), false)
  assert.equal(keepAlive('1.0', 'Connection: Keep-Alive\r\n'), true)
})

const FAULTS: Record<string, string> = {
  'both framings': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
  'differing lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n',
  'a list of lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n',
  'a signed length': 'HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n',
  'a hexadecimal length': 'HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n',
  'a length past 2^53': 'HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n',
  'an empty length': 'HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n',
  'an unknown coding': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
  'chunked twice': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n',
  'chunked in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
  'a space before the colon': 'HTTP/1.1 200 OK\r\nX : y\r\n\r\n',
  'a folded line': 'HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n',
  'an empty name': 'HTTP/1.1 200 OK\r\n: y\r\n\r\n',
  'a NUL in a value': 'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n',
  'a bare CR in a value': 'HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n',
  'a bare LF between lines': 'HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n',
  'a control character in the reason': 'HTTP/1.1 200 O\x01K\r\n\r\n',
  'another protocol': 'ICY 200 OK\r\n\r\n',
  'HTTP/2 in text': 'HTTP/2.0 200 OK\r\n\r\n',
  'two digits of status': 'HTTP/1.1 20 OK\r\n\r\n',
  'a status under 100': 'HTTP/1.1 099 OK\r\n\r\n',
  'four digits of status': 'HTTP/1.1 2000 OK\r\n\r\n',
  'a 101 that was not asked for': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
  'garbage without an end': '\x16\x03\x01',
  'a chunk size that is none': `${CHUNKED}xyz\r\n`,
  'a chunk size with a prefix': `${CHUNKED}0x5\r\nhello\r\n`,
  'a chunk size with a sign': `${CHUNKED}-5\r\nhello\r\n`,
  'a chunk size with a space': `${CHUNKED}5 \r\nhello\r\n`,
  'no chunk size': `${CHUNKED}\r\nhello\r\n`,
  'a chunk size past all bounds': `${CHUNKED}fffffffffffffffff\r\n`,
  'a chunk longer than its size': `${CHUNKED}5\r\nhello!\r\n`,
  'a bare LF after a chunk size': `${CHUNKED}5\nhello\r\n`,
  'a bare LF in a chunk extension': `${CHUNKED}5;a\nb\r\nhello\r\n`,
  'a bare LF after a chunk': `${CHUNKED}5\r\nhello\n`,
  'a bad trailer': `${CHUNKED}0\r\nX y\r\n\r\n`,
}

for (const [what, wire] of Object.entries(FAULTS)) {
  test(`refused: ${what}`, () => {
    assert.notEqual(read(wire).fault, null)
    // However it comes.
    const everyByte = Array.from({ length: wire.length - 1 }, (_, index) => index + 1)
    assert.notEqual(read(wire, { cuts: everyByte }).fault, null)
  })
}

test('refused: heads, extensions, trailers and 1xx over their bounds', () => {
  assert.notEqual(read(`HTTP/1.1 200 OK\r\nX: ${'y'.repeat(2000)}`, { maxHeadBytes: 1000 }).fault, null)
  assert.notEqual(read(`HTTP/1.1 200 OK\r\nX: ${'y'.repeat(2000)}\r\n\r\n`, { maxHeadBytes: 1000 }).fault, null)
  assert.notEqual(read(`${CHUNKED}5;${'a'.repeat(5000)}\r\nhello\r\n`).fault, null)
  assert.notEqual(read(`${CHUNKED}0\r\nX: ${'y'.repeat(20_000)}`).fault, null)
  assert.notEqual(read('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(101)).fault, null)
})

test('a response reads the same in pieces of any size', () => {
  const wires = [
    `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${CHUNKED}5;x\r\nhello\r\n1\r\n!\r\n0\r\nA: 1\r\nB: 2\r\n\r\nrest`,
    `${CHUNKED}5\r\nhello\r\n0\r\n\r\n`,
    'HTTP/1.1 200 OK\r\nContent-Length: 11\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nhello worldrest',
    'HTTP/1.0 404 Nope\r\nServer: x\r\n\r\nuntil the end',
  ]
  for (const wire of wires) {
    const whole = read(wire, { closes: true })
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: wire.length - 1 })), (points) => {
        const cuts = points.sort((a, b) => a - b)
        assert.deepEqual(read(wire, { cuts, closes: true }), whole)
      }),
      { seed: 1, numRuns: 300 },
    )
    const everyByte = Array.from({ length: wire.length - 1 }, (_, index) => index + 1)
    assert.deepEqual(read(wire, { cuts: everyByte, closes: true }), whole)
  }
})

test('no input makes it throw or loop', () => {
  const pieces = fc.constantFrom(
    'HTTP/1.1 ',
    '200',
    ' ',
    '\r\n',
    '\r',
    '\n',
    'A: b',
    ':',
    '5',
    '0',
    ';',
    '\0',
    'chunked',
    'Transfer-Encoding: ',
  )
  fc.assert(
    fc.property(fc.array(fc.oneof(pieces, fc.string({ maxLength: 5 })), { maxLength: 40 }), (parts) => {
      read(parts.join(''), { closes: true })
      read(CHUNKED + parts.join(''), { closes: true })
    }),
    { seed: 2, numRuns: 2000 },
  )
})
