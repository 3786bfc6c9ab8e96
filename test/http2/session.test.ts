import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { borrowBuffer, returnBuffer } from '../../src/http2/frame-writer.ts'
import { CODE, FLAG, FRAME, PREFACE, SETTING } from '../../src/http2/protocol.ts'
import { Bench, block, data, frame, GET, headers, POST, settings, uint32 } from './wire.ts'

const OPEN = FLAG.END_HEADERS
const OK = [':status', '200']

/** A server after each case: what it sends, and what its streams have seen. */
interface Case {
  readonly what: string
  readonly frames: readonly Buffer[]
  /** A connection error, or a stream error of stream 1. */
  readonly goaway?: number
  readonly rst?: number
}

const window = (id: number, grant: number): Buffer => frame(FRAME.WINDOW_UPDATE, 0, id, uint32(grant))
const reset = (id: number, code = 8): Buffer => frame(FRAME.RST_STREAM, 0, id, uint32(code))
const priority = (id: number, on: number): Buffer => frame(FRAME.PRIORITY, 0, id, [...uint32(on), 1])
const padded = (id: number, padding: number, payload: readonly number[], flags = 0): Buffer =>
  frame(FRAME.DATA, FLAG.PADDED | flags, id, [padding, ...payload])
const { PROTOCOL_ERROR, FRAME_SIZE_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, COMPRESSION_ERROR, ENHANCE_YOUR_CALM } =
  CODE

/** One for each sentence of RFC 9113 that says what a server must not accept. */
const CASES: Readonly<Record<string, readonly Case[]>> = {
  '4.1 frame format': [
    { what: 'a type that is not known is ignored', frames: [frame(200, 255, 1, [1, 2, 3]), headers(1)] },
    { what: 'flags that are not known are ignored', frames: [headers(1, GET, OPEN | FLAG.END_STREAM | 0x40)] },
    { what: 'the reserved bit is ignored', frames: [frame(FRAME.PING, 0, 0x80000000, new Array(8).fill(1))] },
  ],
  '4.2 frame size': [
    {
      what: 'a frame over 16,384 bytes',
      frames: [frame(FRAME.DATA, 0, 1, Buffer.alloc(16_385))],
      goaway: FRAME_SIZE_ERROR,
    },
    {
      what: 'of a type that is not known, too',
      frames: [frame(99, 0, 0, Buffer.alloc(16_385))],
      goaway: FRAME_SIZE_ERROR,
    },
  ],
  '4.3 field section compression': [
    { what: 'a block that cannot be decoded', frames: [frame(FRAME.HEADERS, 5, 1, [0xff])], goaway: COMPRESSION_ERROR },
    {
      what: 'another frame within a block',
      frames: [headers(1, GET, FLAG.END_STREAM), window(0, 1000)],
      goaway: PROTOCOL_ERROR,
    },
    { what: 'DATA within a block', frames: [headers(1, GET, 0), data(1, 'x')], goaway: PROTOCOL_ERROR },
    {
      what: 'CONTINUATION of another stream',
      frames: [headers(1, GET, FLAG.END_STREAM), frame(FRAME.CONTINUATION, OPEN, 3)],
      goaway: PROTOCOL_ERROR,
    },
  ],
  '5.1 stream states': [
    { what: 'idle: DATA', frames: [data(1, 'x')], goaway: PROTOCOL_ERROR },
    { what: 'idle: RST_STREAM', frames: [reset(1)], goaway: PROTOCOL_ERROR },
    { what: 'idle: WINDOW_UPDATE', frames: [window(1, 1)], goaway: PROTOCOL_ERROR },
    { what: 'idle: PRIORITY is allowed', frames: [priority(1, 3), headers(1)] },
    { what: 'idle: CONTINUATION', frames: [frame(FRAME.CONTINUATION, OPEN, 1, block(GET))], goaway: PROTOCOL_ERROR },
    { what: 'half-closed (remote): DATA', frames: [headers(1), data(1, 'x')], rst: STREAM_CLOSED },
    { what: 'half-closed (remote): HEADERS', frames: [headers(1), headers(1)], rst: STREAM_CLOSED },
    { what: 'half-closed (remote): WINDOW_UPDATE is allowed', frames: [headers(1), window(1, 1)] },
    { what: 'closed by the peer: DATA', frames: [headers(1, POST, OPEN), reset(1), data(1, 'x')], rst: STREAM_CLOSED },
    { what: 'closed by the peer: HEADERS', frames: [headers(1), reset(1), headers(1)], goaway: STREAM_CLOSED },
    {
      what: 'closed: WINDOW_UPDATE and PRIORITY are allowed',
      frames: [headers(1), reset(1), window(1, 9), priority(1, 3)],
    },
    { what: 'an even identifier', frames: [headers(2)], goaway: PROTOCOL_ERROR },
    { what: 'an identifier below an earlier one', frames: [headers(5), headers(3)], goaway: STREAM_CLOSED },
  ],
  '6.1 DATA': [
    { what: 'on stream 0', frames: [data(0, 'x')], goaway: PROTOCOL_ERROR },
    {
      what: 'with padding of the length of the payload',
      frames: [headers(1, POST, OPEN), padded(1, 3, [1, 2])],
      goaway: PROTOCOL_ERROR,
    },
    {
      what: 'with the flag of padding and nothing else',
      frames: [headers(1, POST, OPEN), frame(FRAME.DATA, 8, 1)],
      goaway: FRAME_SIZE_ERROR,
    },
    { what: 'with padding alone', frames: [headers(1, POST, OPEN), padded(1, 2, [0, 0], FLAG.END_STREAM)] },
  ],
  '6.2 HEADERS': [
    { what: 'on stream 0', frames: [headers(0)], goaway: PROTOCOL_ERROR },
    {
      what: 'with more padding than payload',
      frames: [frame(FRAME.HEADERS, 13, 1, [9, 0x82])],
      goaway: PROTOCOL_ERROR,
    },
    {
      what: 'with the flag of padding and nothing else',
      frames: [frame(FRAME.HEADERS, 13, 1)],
      goaway: FRAME_SIZE_ERROR,
    },
    {
      what: 'with padding and a priority',
      frames: [frame(FRAME.HEADERS, 0x2d, 1, [1, ...uint32(0), 5, ...block(GET), 0])],
    },
    {
      what: 'too short for its priority',
      frames: [frame(FRAME.HEADERS, 0x25, 1, [0, 0, 0, 0])],
      goaway: FRAME_SIZE_ERROR,
    },
  ],
  '6.3 PRIORITY': [
    { what: 'on stream 0', frames: [priority(0, 1)], goaway: PROTOCOL_ERROR },
    { what: 'of another length', frames: [headers(1), frame(FRAME.PRIORITY, 0, 1, [1, 2, 3])], rst: FRAME_SIZE_ERROR },
  ],
  '6.4 RST_STREAM': [
    { what: 'on stream 0', frames: [reset(0)], goaway: PROTOCOL_ERROR },
    { what: 'of another length', frames: [headers(1), frame(FRAME.RST_STREAM, 0, 1, [0])], goaway: FRAME_SIZE_ERROR },
  ],
  '6.5 SETTINGS': [
    { what: 'on a stream', frames: [frame(FRAME.SETTINGS, 0, 1)], goaway: PROTOCOL_ERROR },
    { what: 'an acknowledgement with a payload', frames: [frame(FRAME.SETTINGS, 1, 0, [1])], goaway: FRAME_SIZE_ERROR },
    {
      what: 'of a length that is no multiple of 6',
      frames: [frame(FRAME.SETTINGS, 0, 0, [1, 2, 3])],
      goaway: FRAME_SIZE_ERROR,
    },
    { what: 'ENABLE_PUSH 2', frames: [settings([SETTING.ENABLE_PUSH, 2])], goaway: PROTOCOL_ERROR },
    {
      what: 'INITIAL_WINDOW_SIZE 2^31',
      frames: [settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 31])],
      goaway: FLOW_CONTROL_ERROR,
    },
    { what: 'MAX_FRAME_SIZE 16,383', frames: [settings([SETTING.MAX_FRAME_SIZE, 16_383])], goaway: PROTOCOL_ERROR },
    { what: 'MAX_FRAME_SIZE 2^24', frames: [settings([SETTING.MAX_FRAME_SIZE, 2 ** 24])], goaway: PROTOCOL_ERROR },
    {
      what: 'ENABLE_CONNECT_PROTOCOL 2 (RFC 8441)',
      frames: [settings([SETTING.ENABLE_CONNECT_PROTOCOL, 2])],
      goaway: PROTOCOL_ERROR,
    },
    { what: 'a setting that is not known', frames: [settings([0x99, 1]), headers(1)] },
  ],
  '6.6 PUSH_PROMISE': [
    { what: 'from a client', frames: [headers(1), frame(FRAME.PUSH_PROMISE, 4, 1, uint32(2))], goaway: PROTOCOL_ERROR },
  ],
  '6.7 PING': [
    { what: 'on a stream', frames: [frame(FRAME.PING, 0, 1, Buffer.alloc(8))], goaway: PROTOCOL_ERROR },
    { what: 'of another length', frames: [frame(FRAME.PING, 0, 0, Buffer.alloc(6))], goaway: FRAME_SIZE_ERROR },
  ],
  '6.8 GOAWAY': [
    { what: 'on a stream', frames: [frame(FRAME.GOAWAY, 0, 1, Buffer.alloc(8))], goaway: PROTOCOL_ERROR },
    { what: 'too short', frames: [frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(7))], goaway: FRAME_SIZE_ERROR },
    {
      what: 'whose last stream grows',
      frames: [
        frame(FRAME.GOAWAY, 0, 0, [...uint32(0), ...uint32(0)]),
        frame(FRAME.GOAWAY, 0, 0, [...uint32(2), ...uint32(0)]),
      ],
      goaway: PROTOCOL_ERROR,
    },
  ],
  '6.9 WINDOW_UPDATE': [
    { what: '0 for the connection', frames: [window(0, 0)], goaway: PROTOCOL_ERROR },
    { what: '0 for a stream', frames: [headers(1), window(1, 0)], rst: PROTOCOL_ERROR },
    { what: 'of another length', frames: [frame(FRAME.WINDOW_UPDATE, 0, 0, [1])], goaway: FRAME_SIZE_ERROR },
    { what: 'over 2^31 - 1 for the connection', frames: [window(0, 2 ** 31 - 1)], goaway: FLOW_CONTROL_ERROR },
    { what: 'over 2^31 - 1 for a stream', frames: [headers(1), window(1, 2 ** 31 - 1)], rst: FLOW_CONTROL_ERROR },
    {
      what: 'over 2^31 - 1 by INITIAL_WINDOW_SIZE (6.9.2)',
      frames: [headers(1), window(1, 2 ** 31 - 70_000), settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 31 - 1])],
      goaway: FLOW_CONTROL_ERROR,
    },
  ],
  '6.10 CONTINUATION': [
    {
      what: 'goes on with a block, in any number of pieces',
      frames: [
        frame(FRAME.HEADERS, FLAG.END_STREAM, 1, block(GET).subarray(0, 3)),
        frame(FRAME.CONTINUATION, 0, 1, block(GET).subarray(3, 4)),
        frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1, block(GET).subarray(4)),
      ],
    },
    { what: 'after a block', frames: [headers(1), frame(FRAME.CONTINUATION, OPEN, 1)], goaway: PROTOCOL_ERROR },
    {
      what: 'without an end',
      frames: [headers(1, GET, 0), ...new Array(9).fill(frame(FRAME.CONTINUATION, 0, 1, [0]))],
      goaway: ENHANCE_YOUR_CALM,
    },
  ],
  '8.1 messages': [
    {
      what: 'trailers that do not end the stream',
      frames: [headers(1, POST, OPEN), headers(1, [['a', '1']], OPEN)],
      rst: PROTOCOL_ERROR,
    },
    {
      what: 'trailers with a pseudo-header field',
      frames: [headers(1, POST, OPEN), headers(1, [[':path', '/']])],
      rst: PROTOCOL_ERROR,
    },
    { what: 'trailers in upper case', frames: [headers(1, POST, OPEN), headers(1, [['A', '1']])], rst: PROTOCOL_ERROR },
    { what: 'a name in upper case', frames: [headers(1, [...GET, ['Accept', '*/*']])], rst: PROTOCOL_ERROR },
  ],
}

for (const [section, cases] of Object.entries(CASES)) {
  describe(`RFC 9113 section ${section}`, () => {
    for (const { what, frames, goaway, rst } of cases) {
      test(what, () => {
        // The same, however the bytes are cut.
        for (const cut of [frames, frames.flatMap((bytes) => [...bytes].map((byte) => Buffer.from([byte])))]) {
          const bench = new Bench().receive(...cut)
          const lines = bench.lines()
          const wanted = goaway === undefined ? (rst === undefined ? null : `RST_STREAM 1 ${rst}`) : `GOAWAY`
          const found = lines.filter((line) => /^(?:GOAWAY|RST_STREAM)/.test(line))
          if (wanted === null) assert.deepEqual(found, [])
          else if (goaway === undefined) assert.deepEqual(found, [wanted])
          else assert.match(found.join(), new RegExp(`^GOAWAY \\d+ ${goaway}$`))
          assert.deepEqual(
            bench.events.slice(1).filter((event) => event.startsWith('fault')),
            goaway === undefined ? [] : [`fault ${goaway}`],
          )
          assert.equal(bench.session.isClosed, goaway !== undefined)
        }
      })
    }
  })
}

describe('RFC 9113 section 3.4, the preface', () => {
  test('anything else ends the connection', () => {
    const bench = new Bench({}, false).receive(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    assert.deepEqual(bench.lines().slice(-1), ['GOAWAY 0 1'])
  })
  test('it may come in pieces', () => {
    const bench = new Bench({}, false).receive(PREFACE.subarray(0, 10), PREFACE.subarray(10), settings(), headers(1))
    assert.equal(bench.streams.length, 1)
  })
  test('SETTINGS must be first', () => {
    for (const first of [
      headers(1),
      frame(FRAME.SETTINGS, FLAG.ACK, 0),
      data(1, 'x'),
      frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
    ]) {
      const bench = new Bench({}, false).receive(PREFACE, first)
      assert.deepEqual(bench.lines().slice(-1), ['GOAWAY 0 1'])
    }
  })
  test('our settings are sent at once, and the window of the connection is enlarged', () => {
    const lines = new Bench({}, false).lines()
    assert.deepEqual(lines, ['SETTINGS 0', `WINDOW_UPDATE 0 ${2 ** 20 - 65_535}`])
  })
})

describe('a server', () => {
  test('a request, and a response whose frames end in place', () => {
    const bench = new Bench()
    bench.onRequest = (stream) => {
      stream.sendHead(OK, ['a', '1'])
      stream.write(Buffer.from('hello'))
      stream.end()
    }
    bench.receive(headers(1))
    assert.deepEqual(bench.streams[0]?.lines, ['head :method=GET :scheme=http :authority=a.test :path=/ end'])
    assert.deepEqual(bench.lines(), ['HEADERS 1 :status=200a=1', 'DATA 1 hello end'])
    assert.equal(bench.session.openStreams, 0)
  })

  test('a response without a body is one frame, also if its end comes later in the turn', () => {
    const bench = new Bench()
    bench.onRequest = (stream) => stream.sendHead([':status', '204'], [])
    bench.receive(headers(1))
    bench.streams[0]?.stream.end()
    assert.deepEqual(bench.lines(), ['HEADERS 1 :status=204 end'])
  })

  test('an end that comes after its frames have left is a frame of its own', () => {
    const bench = new Bench().receive(headers(1))
    const stream = bench.streams[0]?.stream
    stream?.sendHead(OK, [])
    assert.deepEqual(bench.lines(), ['HEADERS 1 :status=200'])
    stream?.end()
    assert.deepEqual(bench.lines(), ['DATA 1  end'])
  })

  test('the end in place is that of the right stream', () => {
    const bench = new Bench().receive(headers(1), headers(3))
    const [one, other] = bench.streams.map(({ stream }) => stream)
    one?.sendHead(OK, [])
    other?.sendHead(OK, [])
    one?.end()
    assert.deepEqual(bench.lines(), ['HEADERS 1 :status=200 end', 'HEADERS 3 :status=200'])
  })

  test('trailers', () => {
    const bench = new Bench().receive(headers(1, POST, OPEN), data(1, 'a'), headers(1, [['grpc-status', '0']]))
    assert.deepEqual(bench.streams[0]?.lines.slice(1), ['data a', 'end grpc-status 0'])
    const stream = bench.streams[0]?.stream
    stream?.sendHead(OK, [])
    stream?.write(Buffer.from('b'))
    stream?.end(['grpc-status', '0'])
    assert.deepEqual(bench.lines(), ['HEADERS 1 :status=200', 'DATA 1 b', 'HEADERS 1 grpc-status=0 end'])
  })

  test('DATA counts against Content-Length', () => {
    for (const [expected, frames, isRight] of [
      [2, [data(1, 'ab', FLAG.END_STREAM)], true],
      [3, [data(1, 'ab', FLAG.END_STREAM)], false],
      [1, [data(1, 'ab')], false],
      [3, [data(1, 'ab'), headers(1, [['a', '1']])], false],
    ] as const) {
      const bench = new Bench()
      bench.onRequest = (stream) => {
        stream.expectedBytes = expected
      }
      bench.receive(headers(1, POST, OPEN), ...frames)
      assert.equal(bench.lines().includes('RST_STREAM 1 1'), !isRight)
    }
  })

  test('PING and SETTINGS are answered', () => {
    const bench = new Bench().receive(frame(FRAME.PING, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]), settings())
    const frames = bench.frames()
    assert.deepEqual([frames[0]?.flags, frames[0]?.payload.toString('hex')], [1, '0102030405060708'])
    assert.deepEqual([frames[1]?.type, frames[1]?.flags], [FRAME.SETTINGS, 1])
  })

  test('more streams than allowed are refused, and the table stays right', () => {
    const bench = new Bench({ maxStreams: 1 }).receive(
      headers(1),
      frame(FRAME.HEADERS, 5, 3, [...block(GET), 0x40, 1, 97, 1, 49]),
    )
    assert.deepEqual(bench.lines(), ['RST_STREAM 3 7'])
    bench.streams[0]?.stream.reset(CODE.CANCEL)
    bench.receive(frame(FRAME.HEADERS, 5, 5, [...block(GET), 0xbe]))
    assert.match(bench.streams[1]?.lines[0] ?? '', /a=1/)
  })

  test('128 refused in a row end the connection', () => {
    const bench = new Bench({ maxStreams: 1 })
    for (let i = 0; i < 129; i++) bench.receive(headers(2 * i + 1))
    assert.deepEqual(bench.events.slice(1), ['fault 11'])
  })

  test('one that is taken in between begins the count again', () => {
    const bench = new Bench({ maxStreams: 1 })
    for (let i = 0; i < 240; i++) {
      if (i === 120) bench.streams[0]?.stream.reset(CODE.CANCEL)
      bench.receive(headers(2 * i + 1))
    }
    assert.deepEqual([bench.events.slice(1), bench.streams.length], [[], 2])
  })

  test('a graceful end: streams on their way are taken until the second GOAWAY', () => {
    const bench = new Bench().receive(headers(1))
    bench.session.goAway(false)
    bench.receive(headers(3))
    bench.session.goAway(true)
    bench.receive(headers(5))
    assert.deepEqual(bench.lines(), [`GOAWAY ${2 ** 31 - 1} 0`, 'GOAWAY 3 0', 'RST_STREAM 5 7'])
    assert.equal(bench.streams.length, 2)
  })

  test('what comes on a stream that we have reset is ignored, and does not take the window of others', () => {
    const bench = new Bench().receive(headers(1, POST, OPEN))
    bench.streams[0]?.stream.reset(CODE.NO_ERROR)
    bench.lines()
    for (let i = 0; i < 100; i++) bench.receive(data(1, Buffer.alloc(16_000)))
    bench.receive(headers(1, [['a', '1']]))
    const lines = bench.lines()
    assert.ok(
      lines.every((line) => line.startsWith('WINDOW_UPDATE 0')),
      lines.join(),
    )
    const granted = lines.reduce((sum, line) => sum + Number(line.split(' ')[2]), 0)
    assert.ok(granted > 1_000_000, String(granted))
  })

  test('a lost connection is told to all streams', () => {
    const bench = new Bench().receive(headers(1), headers(3))
    bench.session.abort(CODE.CONNECT_ERROR)
    assert.deepEqual(
      bench.streams.map(({ lines }) => lines[1]),
      ['reset 10', 'reset 10'],
    )
    bench.receive(headers(5))
    assert.equal(bench.streams.length, 2)
  })
})

describe('flow control', () => {
  const body = Buffer.alloc(200_000)

  /** Sizes of the DATA frames. */
  const sizes = (lines: readonly string[]): number[] =>
    lines.filter((line) => line.startsWith('DATA')).map((line) => Number(line.split(' ')[2]))

  const sum = (lines: readonly string[]): number => sizes(lines).reduce((a, b) => a + b, 0)

  test('what the window does not hold waits for WINDOW_UPDATE', () => {
    const bench = new Bench().receive(window(0, 2 ** 20), headers(1))
    const seen = bench.streams[0]
    seen?.stream.sendHead(OK, [])
    assert.equal(seen?.stream.write(body), false)
    seen?.stream.end()
    assert.equal(sum(bench.lines()), 65_535)
    bench.receive(window(1, 5_000))
    assert.deepEqual(sizes(bench.lines()), [5_000])
    bench.receive(window(1, 2 ** 20))
    assert.equal(sum(bench.lines()), 200_000 - 65_535 - 5_000)
    assert.equal(bench.session.openStreams, 0)
  })

  test('a larger first window lets go what waits', () => {
    const bench = new Bench().receive(window(0, 2 ** 20), headers(1))
    bench.streams[0]?.stream.sendHead(OK, [])
    bench.streams[0]?.stream.write(body)
    assert.equal(sum(bench.lines()), 65_535)
    bench.receive(settings([SETTING.INITIAL_WINDOW_SIZE, 75_535]))
    assert.deepEqual(sizes(bench.lines(false)), [10_000])
  })

  test('what waits on a stream that is over is given up, and its memory used again', () => {
    const bench = new Bench().receive(settings([SETTING.INITIAL_WINDOW_SIZE, 0]), headers(1))
    bench.streams[0]?.stream.write(Buffer.alloc(20_000, 'waiting'))
    // None is left that was given back before.
    const before = Array.from({ length: 64 }, () => borrowBuffer(1))
    bench.receive(reset(1))
    assert.equal(borrowBuffer(1).toString('latin1', 0, 7), 'waiting')
    for (const buffer of before) returnBuffer(buffer)
  })

  test('what was unread of a stream that is over counts no more', () => {
    const bench = new Bench()
    bench.isConsuming = false
    let granted = 1 << 20
    for (let id = 1; id < 100; id += 2) {
      assert.ok(granted >= 60_000, `${granted} bytes are left of the window before stream ${id}`)
      granted -= 60_000
      bench.receive(headers(id, POST, OPEN))
      for (let i = 0; i < 4; i++) bench.receive(data(id, Buffer.alloc(15_000)))
      bench.streams.at(-1)?.stream.reset(CODE.CANCEL)
      for (const { type, id: on, payload } of bench.frames())
        if (type === FRAME.WINDOW_UPDATE && on === 0) granted += payload.readUInt32BE()
    }
  })

  test('the window of the connection holds for all streams together, which take turns', () => {
    const bench = new Bench().receive(headers(1), headers(3))
    for (const { stream } of bench.streams) {
      stream.sendHead(OK, [])
      stream.write(body)
    }
    assert.equal(sum(bench.lines()), 65_535)
    bench.receive(window(1, 2 ** 20), window(3, 2 ** 20))
    assert.deepEqual(bench.lines(), [])
    bench.receive(window(0, 10_000))
    bench.receive(window(0, 10_000))
    const lines = bench.lines()
    assert.deepEqual(lines.map((line) => line.split(' ')[1]).sort(), ['1', '3'])
  })

  test('a lower first window makes a window negative, which must be earned first (6.9.2)', () => {
    const bench = new Bench().receive(headers(1))
    const stream = bench.streams[0]?.stream
    stream?.sendHead(OK, [])
    stream?.write(Buffer.alloc(60_000))
    bench.lines()
    bench.receive(settings([SETTING.INITIAL_WINDOW_SIZE, 10_000]), window(0, 2 ** 20))
    stream?.write(Buffer.alloc(100))
    bench.receive(window(1, 50_000))
    assert.deepEqual(sizes(bench.lines()), [])
    bench.receive(window(1, 50))
    assert.deepEqual(sizes(bench.lines()), [50])
    bench.receive(settings([SETTING.INITIAL_WINDOW_SIZE, 10_100]))
    assert.deepEqual(sizes(bench.lines()), [50])
    assert.equal(bench.streams[0]?.lines.at(-1), 'writable')
  })

  test('not more than 64 KiB are on their way: the rest waits until it has been written', () => {
    const bench = new Bench().receive(settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 30]), window(0, 2 ** 30), headers(1))
    bench.lines()
    const seen = bench.streams[0]
    assert.equal(seen?.stream.write(body), false)
    assert.ok(bench.session.unwritten <= 65_536 + 1024)
    const first = bench.sent(false).length
    assert.equal(bench.sent(false).length, 0)
    bench.session.onWritten(first)
    assert.ok(bench.sent(false).length > 60_000)
    bench.session.onWritten(bench.session.unwritten)
    bench.sent()
    assert.equal(seen?.lines.at(-1), 'writable')
  })

  test('a small response does not wait behind a large one', () => {
    const bench = new Bench().receive(
      settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 30]),
      window(0, 2 ** 30),
      headers(1),
      headers(3),
    )
    bench.lines()
    const [large, small] = bench.streams.map(({ stream }) => stream)
    large?.write(Buffer.alloc(1 << 20))
    small?.sendHead(OK, [])
    small?.write(Buffer.from('small'))
    small?.end()
    let bytesBefore = 0
    for (const line of bench.lines()) {
      if (line.startsWith('DATA 3')) break
      if (line.startsWith('DATA 1')) bytesBefore += Number(line.split(' ')[2])
    }
    assert.ok(bytesBefore <= 2 * 65_536, String(bytesBefore))
  })

  test('a peer that sends more than it may', () => {
    const bench = new Bench()
    bench.isConsuming = false
    bench.receive(headers(1, POST, OPEN))
    for (let i = 0; i < 4; i++) bench.receive(data(1, Buffer.alloc(16_384)))
    assert.deepEqual(bench.lines(), ['RST_STREAM 1 3'])
    // The connection has a larger one.
    for (let i = 3; i < 200; i += 2) {
      bench.receive(headers(i, POST, OPEN))
      for (let k = 0; k < 3; k++) bench.receive(data(i, Buffer.alloc(16_384)))
    }
    assert.deepEqual(bench.events.slice(1), ['fault 3'])
  })

  test('what is not consumed is not granted, and does not stop other streams', () => {
    const bench = new Bench()
    bench.isConsuming = false
    bench.receive(headers(1, POST, OPEN))
    for (let i = 0; i < 3; i++) bench.receive(data(1, Buffer.alloc(16_384)))
    assert.deepEqual(bench.lines(), [])
    bench.streams[0]?.stream.consume(3 * 16_384)
    assert.deepEqual(bench.lines(), [`WINDOW_UPDATE 1 ${3 * 16_384 + 65_535}`])
  })

  test('a stream that empties its window fast gets a larger one, up to the largest; a slow one does not', () => {
    const bench = new Bench({ largestWindow: 200_000 })
    bench.receive(headers(1, POST, OPEN), data(1, Buffer.alloc(16_384)), data(1, Buffer.alloc(16_384)))
    assert.deepEqual(bench.lines(), [`WINDOW_UPDATE 1 ${32_768 + 65_535}`])
    bench.nowMs += 200
    for (let i = 0; i < 4; i++) bench.receive(data(1, Buffer.alloc(16_384)))
    assert.deepEqual(bench.lines(), ['WINDOW_UPDATE 1 65536'])
    for (let i = 0; i < 4; i++) bench.receive(data(1, Buffer.alloc(16_384)))
    assert.deepEqual(bench.lines(), [`WINDOW_UPDATE 1 ${65_536 + 200_000 - 131_070}`])
  })

  test('padding is granted again at once', () => {
    const bench = new Bench({ largestWindow: 65_535 })
    bench.isConsuming = false
    bench.receive(headers(1, POST, OPEN))
    for (let i = 0; i < 150; i++) bench.receive(padded(1, 255, new Array(256).fill(0)))
    bench.streams[0]?.stream.consume(150)
    assert.deepEqual(bench.lines(), [`WINDOW_UPDATE 1 ${150 * 257}`])
  })
})

describe('floods', () => {
  /** How many frames the server takes until it ends the connection. */
  function taken(bench: Bench, next: (i: number) => readonly Buffer[], most = 3000): number {
    for (let i = 0; i < most; i++) {
      bench.receive(...next(i))
      bench.sent()
      if (bench.session.isClosed) return i
    }
    return most
  }

  for (const [what, next, bound] of [
    ['rapid reset', (i: number) => [headers(2 * i + 1), reset(2 * i + 1)], 310],
    ['resets that we are made to send', (i: number) => [headers(2 * i + 1), window(2 * i + 1, 0)], 160],
    ['PING', () => [frame(FRAME.PING, 0, 0, Buffer.alloc(8))], 310],
    ['SETTINGS', () => [settings()], 310],
    ['empty DATA', (i: number) => (i === 0 ? [headers(1, POST, OPEN)] : [data(1, '')]), 310],
    ['WINDOW_UPDATE of 1', () => [window(0, 1)], 1210],
    ['PRIORITY', () => [priority(1, 3)], 1210],
    ['types that are not known', () => [frame(77, 0, 0)], 1210],
    ['PING with ACK', () => [frame(FRAME.PING, FLAG.ACK, 0, Buffer.alloc(8))], 1210],
    ['SETTINGS with ACK', () => [frame(FRAME.SETTINGS, FLAG.ACK, 0)], 1210],
    ['DATA on a closed stream', (i: number) => (i === 0 ? [headers(1, POST, OPEN), reset(1)] : [data(1, 'x')]), 1210],
  ] as const) {
    test(what, () => {
      const bench = new Bench()
      assert.ok(taken(bench, next) <= bound)
      assert.deepEqual(bench.events.slice(1), ['fault 11'])
    })
    test(`${what}, at a pace that is bearable`, () => {
      const bench = new Bench()
      const slowly = (i: number): readonly Buffer[] => {
        bench.nowMs += 50
        return next(i)
      }
      assert.equal(taken(bench, slowly, 1500), 1500)
    })
  }

  test('a small WINDOW_UPDATE is no fault if it answers small DATA of ours, for its stream and for the connection', () => {
    const bench = new Bench()
    bench.receive(headers(1))
    const stream = bench.streams[0]?.stream
    const next = (): readonly Buffer[] => {
      stream?.write(Buffer.from('message'))
      return [window(0, 7), window(1, 7)]
    }
    assert.equal(taken(bench, next), 3000)
    assert.ok(taken(bench, () => [window(0, 7)]) <= 1210)
  })

  test('exchanges that end well buy patience', () => {
    const bench = new Bench()
    const next = (i: number): readonly Buffer[] => {
      bench.session.credit()
      return [headers(2 * i + 1), reset(2 * i + 1)]
    }
    assert.equal(taken(bench, next), 3000)
  })

  test('excused are as many as can be on their way', () => {
    const bench = new Bench()
    bench.receive(headers(1))
    for (let i = 0; i < 12_000; i++) {
      bench.streams[0]?.stream.write(Buffer.from('x'))
      bench.sent()
    }
    assert.ok(taken(bench, () => [window(0, 1)], 20_000) <= 16_384 + 1_210)
  })

  test('a header block that is too large is not collected to its end', () => {
    const bench = new Bench()
    bench.receive(frame(FRAME.HEADERS, 0, 1, Buffer.alloc(16_384)))
    bench.receive(frame(FRAME.CONTINUATION, 0, 1, Buffer.alloc(16_384)))
    assert.equal(bench.session.isClosed, false)
    bench.receive(frame(FRAME.CONTINUATION, 0, 1, Buffer.alloc(1)))
    assert.deepEqual(bench.events.slice(1), ['fault 11'])
  })

  test('a list of fields that is far too large', () => {
    const bench = new Bench({ bounds: { maxHeadBytes: 100, maxHeaders: 10 } })
    bench.receive(frame(FRAME.HEADERS, 5, 1, [0x40, 1, 97, 1, 49, ...new Array(3).fill(0xbe)]))
    assert.deepEqual(bench.events.slice(1), [])
    assert.equal(bench.streams.length, 1)
    bench.receive(frame(FRAME.HEADERS, 5, 3, [...new Array(12).fill(0xbe)]))
    assert.deepEqual(bench.events.slice(1), ['fault 11'])
  })
})

describe('a client', () => {
  function client(): Bench {
    return new Bench({ isServer: false, maxStreams: 0, firstWindow: 262_144 })
  }
  /** Opens a stream with a request that has ended. */
  function asked(bench: Bench): { lines: string[]; stream: import('../../src/http2/stream.ts').Http2Stream } {
    const stream = bench.session.open()
    const seen = bench.watch(stream)
    stream.sendHead([':method', 'GET', ':scheme', 'http', ':authority', 'a', ':path', '/'], [], true)
    return seen
  }

  test('it sends the preface and its settings, and has the settings of the server', () => {
    const bench = new Bench({ isServer: false }, false)
    const bytes = bench.sent()
    assert.ok(bytes.subarray(0, 24).equals(PREFACE))
    bench.receive(settings([SETTING.MAX_CONCURRENT_STREAMS, 7], [SETTING.ENABLE_CONNECT_PROTOCOL, 1]))
    assert.deepEqual([bench.session.peerMaxStreams, bench.events], [7, ['settings']])
  })

  test('an interim head, a response, and trailers', () => {
    const bench = client()
    const { lines, stream } = asked(bench)
    assert.deepEqual(bench.lines(), ['HEADERS 1 :method=GET :scheme=http :authority=a :path=/ end'])
    bench.receive(headers(1, [[':status', '103']], OPEN), headers(1, [[':status', '200']], OPEN))
    stream.hasHead = true
    bench.receive(data(1, 'x'), headers(1, [['a', '1']]))
    assert.deepEqual(lines, ['head :status=103', 'head :status=200', 'data x', 'end a 1'])
    assert.equal(bench.session.openStreams, 0)
  })

  test('a response that is complete with its head', () => {
    const bench = client()
    const { lines } = asked(bench)
    bench.receive(headers(1, [[':status', '200']]))
    assert.deepEqual(lines, ['head :status=200 end'])
    assert.equal(bench.session.openStreams, 0)
  })

  test('a complete stream is not reset by whoever hears of its end', () => {
    for (const frames of [
      [headers(1, [[':status', '200']])],
      [headers(1, [[':status', '200']], OPEN), data(1, 'x', 1)],
    ]) {
      const bench = client()
      const { stream } = asked(bench)
      const cancel = (): void => stream.reset(CODE.CANCEL)
      Object.assign(stream.sink ?? {}, {
        onHead(_block: unknown, isEnd: boolean) {
          stream.hasHead = true
          if (isEnd) cancel()
        },
        onEnd: cancel,
      })
      bench.lines()
      bench.receive(...frames)
      assert.deepEqual(bench.lines(), [])
      assert.equal(bench.session.openStreams, 0)
    }
  })

  test('GOAWAY: streams that the server has not seen are told, the others go on', () => {
    const bench = client()
    const [one, other] = [asked(bench), asked(bench)]
    bench.receive(frame(FRAME.GOAWAY, 0, 0, [...uint32(1), ...uint32(0)]))
    assert.deepEqual([one.lines, other.lines], [[], ['reset 7']])
    assert.deepEqual(bench.events.slice(1), ['goaway'])
    bench.receive(headers(1, [[':status', '200']]))
    assert.deepEqual(one.lines, ['head :status=200 end'])
  })

  test('it may cancel many streams at a time, whose frames are still on their way', () => {
    const bench = client()
    for (let i = 0; i < 1_000; i++) asked(bench).stream.reset(CODE.CANCEL)
    bench.frames()
    for (let i = 0; i < 1_000; i++) bench.receive(headers(2 * i + 1, [[':status', '200']], OPEN), data(2 * i + 1, 'x'))
    assert.deepEqual([bench.lines(), bench.events.slice(1)], [[], []])
  })

  test('RST_STREAM tells its code', () => {
    const bench = client()
    const { lines } = asked(bench)
    bench.receive(reset(1, 0))
    assert.deepEqual(lines, ['reset 0'])
  })

  for (const [what, bytes, code] of [
    ['PUSH_PROMISE', frame(FRAME.PUSH_PROMISE, 4, 1, [...uint32(2), ...block(GET)]), 1],
    ['ENABLE_PUSH 1', settings([SETTING.ENABLE_PUSH, 1]), 1],
    ['a head on a stream that we have not opened', headers(3, [[':status', '200']]), 1],
    ['a stream of the server', headers(2, [[':status', '200']]), 1],
    ['ENABLE_CONNECT_PROTOCOL taken back (RFC 8441)', Buffer.concat([settings([8, 1]), settings([8, 0])]), 1],
  ] as const) {
    test(`${what} ends the connection`, () => {
      const bench = client()
      asked(bench)
      bench.receive(bytes)
      assert.deepEqual(bench.events.slice(-1), [`fault ${code}`])
    })
  }

  test('ping', () => {
    const bench = client()
    bench.session.ping()
    const [ping] = bench.frames()
    assert.deepEqual([ping?.type, ping?.flags, ping?.payload.length], [FRAME.PING, 0, 8])
    bench.receive(frame(FRAME.PING, FLAG.ACK, 0, ping?.payload))
    assert.deepEqual([bench.frames(), bench.session.isClosed], [[], false])
  })

  test('what slow readers leave unread does not keep the data of others away', () => {
    const bench = client()
    bench.isConsuming = false
    const slow = Array.from({ length: 16 }, () => asked(bench))
    bench.frames()
    for (const { stream } of slow) {
      bench.receive(headers(stream.id, [[':status', '200']], OPEN))
      stream.hasHead = true
    }
    let granted = 1 << 20
    for (let i = 0; i < 16 * 16; i++) {
      const length = 16_384
      assert.ok(granted >= length, `${granted} bytes are left of the window after ${i} frames`)
      granted -= length
      bench.receive(data(2 * (i % 16) + 1, Buffer.alloc(length)))
      for (const { type, id, payload } of bench.frames())
        if (type === FRAME.WINDOW_UPDATE && id === 0) granted += payload.readUInt32BE()
    }
  })
})

test('a header block that does not fit into a frame is continued', () => {
  const bench = new Bench().receive(headers(1))
  const value = 'v'.repeat(40_000)
  bench.streams[0]?.stream.sendHead(OK, ['x-long', value, 'x-short', 's'], true)
  const frames = bench.frames()
  assert.deepEqual(
    frames.map(({ type, flags, payload }) => [type, flags, payload.length > 16_384]),
    [
      [FRAME.HEADERS, FLAG.END_STREAM, false],
      [FRAME.CONTINUATION, 0, false],
      [FRAME.CONTINUATION, FLAG.END_HEADERS, false],
    ],
  )
  const other = new Bench({ isServer: false, bounds: { maxHeadBytes: 100_000, maxHeaders: 100 } })
  const stream = other.session.open()
  const seen = other.watch(stream)
  for (const { type, flags, payload } of frames) other.receive(frame(type, flags, 1, payload))
  assert.deepEqual(seen.lines, [`head :status=200x-long=${value}x-short=s end`])
})
