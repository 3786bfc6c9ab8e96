import type { HeaderList } from '../model/exchange-view.ts'
import { borrowBuffer, type FramePlace, returnBuffer } from './frame-writer.ts'
import type { FieldBlock } from './hpack-decoder.ts'
import type { Session } from './session.ts'

/** Receives what comes on a stream, in the order of the wire. */
export interface StreamSink {
  /** A response head, interim ones too. Only of streams that we have opened. */
  onHead(block: FieldBlock, isEnd: boolean): void
  /** `bytes` is valid only during the call. They count against the window until {@link Http2Stream.consume}. */
  onData(bytes: Buffer): void
  /** The peer has ended its side. */
  onEnd(trailers: HeaderList | null): void
  /** Our END_STREAM is in the output, with all that was before it. */
  onSent(): void
  /** The stream is closed before both sides have ended. @param code why. @param isOurs we have reset it, for a fault of the peer. */
  onReset(code: number, isOurs: boolean): void
  /** After `write()` returned `false`: everything has been written, and there is room for more. */
  onWritable(): void
}

/** Data that waits: `buffer[from, to)`. */
interface Piece {
  readonly buffer: Buffer
  from: number
  readonly to: number
}

/** Up to this size a piece gets memory of its own, bytes: a large buffer would be mostly empty. */
const SMALL_BYTES = 8192

function copyOf(chunk: Buffer, from: number): Piece {
  const length = chunk.length - from
  const buffer = length <= SMALL_BYTES ? Buffer.allocUnsafe(length) : borrowBuffer(length)
  chunk.copy(buffer, 0, from)
  return { buffer, from: 0, to: length }
}

const NO_TRAILERS: HeaderList = []

/** One stream of a connection: its two sides, and their windows (RFC 9113 section 5). */
export class Http2Stream implements FramePlace {
  readonly id: number
  readonly session: Session
  sink: StreamSink | null = null
  /** We have sent END_STREAM. */
  isLocalDone = false
  /** The peer has sent END_STREAM. */
  isRemoteDone = false
  isClosed = false
  /** A final head has come, so that the next one is a trailer section. */
  hasHead = false
  /** Bytes that the peer's Content-Length still announces; -1: it has announced none. */
  expectedBytes = -1
  /** What the peer allows us to send, bytes. Negative after it has lowered the first window. */
  sendWindow: number
  /** What we allow the peer to send, bytes. */
  receiveWindow: number
  /** Size of the window that is granted, bytes. */
  windowBytes: number
  /** Received, and not consumed, bytes. */
  unread = 0
  /** Consumed, and not granted again, bytes. */
  grantable = 0
  /** Time of the last grant, ms. */
  grantedAt = 0
  flagsAt = -1
  serial = -1
  /** What could not be sent yet. */
  #queue: Piece[] | null = null
  #endsAfterQueue = false
  #trailers: HeaderList | null = null

  constructor(session: Session, id: number, sendWindow: number, receiveWindow: number) {
    this.session = session
    this.id = id
    this.sendWindow = sendWindow
    this.receiveWindow = receiveWindow
    this.windowBytes = receiveWindow
  }

  /** Sends a head. @param pseudo and `list`: names in lower case, and values, by turns. */
  sendHead(pseudo: readonly string[], list: readonly string[], isEnd = false): void {
    if (this.isLocalDone || this.isClosed) return
    this.session.sendHeaders(this, pseudo, list, isEnd)
    if (isEnd) this.#localEnd()
  }

  /** Sends data, which is copied. @returns `false` if the caller should wait for {@link StreamSink.onWritable}. */
  write(chunk: Buffer): boolean {
    if (this.isLocalDone || this.isClosed) return true
    if (this.#queue !== null) {
      this.#queue.push(copyOf(chunk, 0))
      return false
    }
    const sent = this.session.sendData(this, chunk, 0, chunk.length)
    if (sent === chunk.length) return true
    this.#queue = [copyOf(chunk, sent)]
    this.session.wait(this)
    return false
  }

  /** Ends our side, after what waits. */
  end(trailers: HeaderList | null = null): void {
    if (this.isLocalDone || this.isClosed) return
    if (this.#queue !== null) {
      this.#endsAfterQueue = true
      this.#trailers = trailers
      return
    }
    if (trailers === null) this.session.sendEnd(this)
    else this.session.sendHeaders(this, NO_TRAILERS, trailers, true)
    this.#localEnd()
  }

  /** Closes the stream at once, unless both sides have ended. Its sink is not called any more. */
  reset(code: number): void {
    if (!this.isClosed && !(this.isLocalDone && this.isRemoteDone)) this.session.resetStream(this, code)
  }

  /** Allows the peer to send so many bytes more: as many of its data have been taken on. */
  consume(bytes: number): void {
    this.session.consumed(this, bytes)
  }

  /** Continues with what waits. @returns whether nothing waits any more. */
  flush(): boolean {
    const queue = this.#queue
    if (queue === null) return true
    for (;;) {
      const piece = queue[0]
      if (piece === undefined) break
      piece.from += this.session.sendData(this, piece.buffer, piece.from, piece.to)
      if (piece.from < piece.to) return false
      returnBuffer(piece.buffer)
      queue.shift()
    }
    this.#queue = null
    if (this.#endsAfterQueue) this.end(this.#trailers)
    else this.sink?.onWritable()
    return true
  }

  /** Forgets what waits. */
  drop(): void {
    this.isClosed = true
    for (const { buffer } of this.#queue ?? []) returnBuffer(buffer)
    this.#queue = null
  }

  #localEnd(): void {
    this.isLocalDone = true
    if (this.isRemoteDone) this.session.closeStream(this)
    this.sink?.onSent()
  }
}
