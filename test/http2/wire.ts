import { releaseOutput } from '../../src/http2/frame-writer.ts'
import { type FieldBlock, HpackDecoder } from '../../src/http2/hpack-decoder.ts'
import { FLAG, FRAME, PREFACE } from '../../src/http2/protocol.ts'
import { Session, type SessionHandler, type SessionOptions } from '../../src/http2/session.ts'
import type { Http2Stream } from '../../src/http2/stream.ts'

/** A frame as bytes. @param payload bytes, or numbers of 8 bits. */
export function frame(type: number, flags: number, id: number, payload: Uint8Array | readonly number[] = []): Buffer {
  const body = Buffer.from(payload as Uint8Array)
  const head = Buffer.alloc(9)
  head.writeUIntBE(body.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(id, 5)
  return Buffer.concat([head, body])
}

/** 32 bits as bytes. */
export function uint32(value: number): number[] {
  return [...Buffer.from([0, 0, 0, 0]).fill(0)].map((_, i) => (value >>> (24 - 8 * i)) & 255)
}

export function settings(...pairs: readonly (readonly [name: number, value: number])[]): Buffer {
  return frame(
    FRAME.SETTINGS,
    0,
    0,
    pairs.flatMap(([name, value]) => [name >>> 8, name & 255, ...uint32(value)]),
  )
}

/** A header block of literals, which leaves the table as it is. */
export function block(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => [
      Buffer.from([0]),
      ...field.flatMap((text) => [Buffer.from([text.length]), Buffer.from(text, 'latin1')]),
    ]),
  )
}

export const GET: readonly (readonly [string, string])[] = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', 'a.test'],
  [':path', '/'],
]
export const POST: readonly (readonly [string, string])[] = [[':method', 'POST'], ...GET.slice(1)]

/** HEADERS of a whole request or response. */
export function headers(id: number, fields = GET, flags: number = FLAG.END_HEADERS | FLAG.END_STREAM): Buffer {
  return frame(FRAME.HEADERS, flags, id, block(fields))
}

export function data(id: number, bytes: Uint8Array | string, flags = 0): Buffer {
  return frame(FRAME.DATA, flags, id, Buffer.from(bytes as string))
}

/** A frame that was read. */
export interface Frame {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly payload: Buffer
}

/** The frames in bytes that come in pieces of any size. */
export function frameParser(): (bytes: Buffer) => Frame[] {
  let rest = Buffer.alloc(0)
  return (bytes) => {
    rest = Buffer.concat([rest, bytes])
    const found: Frame[] = []
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3)
      const [type = 0, flags = 0] = rest.subarray(3, 5)
      found.push({ type, flags, id: rest.readUInt32BE(5), payload: rest.subarray(9, end) })
      rest = rest.subarray(end)
    }
    return found
  }
}

/** What a stream of the session has received, by lines. */
export interface Seen {
  readonly stream: Http2Stream
  readonly lines: string[]
}

/** A session, and its peer, whose frames a test writes. */
export class Bench {
  readonly session: Session
  readonly streams: Seen[] = []
  readonly events: string[] = []
  /** Called with each new request, after it has been noted. */
  onRequest: (stream: Http2Stream) => void = () => {}
  /** Consume data at once. */
  isConsuming = true
  nowMs = 0
  #decoder = new HpackDecoder({ maxHeadBytes: 1 << 20, maxHeaders: 10_000 })
  readonly #parse = frameParser()
  #hasPreface: boolean

  constructor(options: Partial<SessionOptions> = {}, greeting = true) {
    const isServer = options.isServer ?? true
    this.#hasPreface = isServer
    const handler: SessionHandler = {
      onOutput: () => {},
      onRequest: (stream, block, isEnd) => {
        this.watch(stream, block, isEnd)
        this.onRequest(stream)
      },
      onSettings: (isFirst) => {
        if (isFirst) this.events.push('settings')
      },
      onGoAway: () => void this.events.push('goaway'),
      onFault: (code) => void this.events.push(`fault ${code}`),
    }
    this.session = new Session(handler, {
      isServer,
      bounds: { maxHeadBytes: 16_384, maxHeaders: 100 },
      maxStreams: 128,
      firstWindow: 65_535,
      largestWindow: 1 << 20,
      now: () => this.nowMs,
      ...options,
    })
    this.session.start()
    if (!greeting) return
    if (isServer) this.receive(PREFACE)
    this.receive(settings())
    this.frames()
  }

  /** Notes what comes on a stream. */
  watch(stream: Http2Stream, first?: FieldBlock, isEnd = false): Seen {
    const lines: string[] = first === undefined ? [] : [`head ${text(first)}${isEnd ? ' end' : ''}`]
    stream.sink = {
      onHead: (block, end) => void lines.push(`head ${text(block)}${end ? ' end' : ''}`),
      onData: (bytes) => {
        lines.push(`data ${bytes.toString('latin1')}`)
        if (this.isConsuming) stream.consume(bytes.length)
      },
      onEnd: (trailers) => void lines.push(trailers === null ? 'end' : `end ${trailers.join(' ')}`),
      onSent: () => {},
      onReset: (code, isOurs) => void lines.push(`reset ${code}${isOurs ? ' ours' : ''}`),
      onWritable: () => void lines.push('writable'),
    }
    const seen = { stream, lines }
    this.streams.push(seen)
    return seen
  }

  receive(...frames: readonly Buffer[]): this {
    for (const bytes of frames) this.session.receive(bytes)
    return this
  }

  /** The bytes that the session sends. @param isWritten whether they leave for the kernel. */
  sent(isWritten = true): Buffer {
    const pieces: Buffer[] = []
    for (const output of this.session.takeOutput()) {
      pieces.push(Buffer.from(output.buffer.subarray(0, output.bytes)))
      releaseOutput(output)
      if (isWritten) this.session.onWritten(output.bytes)
    }
    // What waited may have become output.
    const all = Buffer.concat(pieces)
    return isWritten && all.length > 0 ? Buffer.concat([all, this.sent()]) : all
  }

  /** The frames that the session sends. */
  frames(isWritten = true): Frame[] {
    let bytes = this.sent(isWritten)
    if (!this.#hasPreface && bytes.length >= PREFACE.length) {
      bytes = bytes.subarray(PREFACE.length)
      this.#hasPreface = true
    }
    return this.#parse(bytes)
  }

  /** The frames that the session sends, as text; the state of its header table is kept. */
  lines(isWritten = true): string[] {
    return this.frames(isWritten).map(({ type, flags, id, payload }) => {
      const name = Object.keys(FRAME)[type]
      const end = flags & FLAG.END_STREAM && (type === FRAME.DATA || type === FRAME.HEADERS) ? ' end' : ''
      switch (type) {
        case FRAME.DATA:
          return `DATA ${id} ${/^[ -~]{0,40}$/.test(payload.toString('latin1')) ? payload.toString('latin1') : payload.length}${end}`
        case FRAME.HEADERS:
          return `HEADERS ${id} ${text(this.#decoder.decode(payload, 0, payload.length))}${end}`
        case FRAME.GOAWAY:
          return `GOAWAY ${payload.readUInt32BE(0)} ${payload.readUInt32BE(4)}`
        case FRAME.RST_STREAM:
        case FRAME.WINDOW_UPDATE:
          return `${name} ${id} ${payload.readUInt32BE(0)}`
        default:
          return `${name} ${flags}`
      }
    })
  }
}

function text(block: FieldBlock | null): string {
  if (block === null) return '(compression error)'
  const all = [...block.pseudo, ...block.list]
  return all
    .map((part, i) => (i % 2 === 0 ? part : `=${part}`))
    .join('')
    .replace(/(?<=.)(?=:\w+=)/g, ' ')
}
