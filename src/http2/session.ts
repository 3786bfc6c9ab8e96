import type { HeaderList } from '../model/exchange-view.ts'
import { COST, Demerits, SMALL_UPDATE } from './demerits.ts'
import { type FrameHandler, FrameReader } from './frame-reader.ts'
import { FrameWriter, type Output } from './frame-writer.ts'
import { type FieldBlock, HpackDecoder, type ListBounds } from './hpack-decoder.ts'
import {
  CODE,
  codeName,
  FIRST_WINDOW,
  FLAG,
  FRAME,
  LARGEST_FRAME_BYTES,
  LARGEST_ID,
  LARGEST_WINDOW,
  MAX_FRAME_BYTES,
  PREFACE,
  readUint31,
  readUint32,
  SETTING,
} from './protocol.ts'
import { ResetStreams } from './reset-streams.ts'
import { Http2Stream } from './stream.ts'

/** Receives what concerns the whole connection. */
export interface SessionHandler {
  /** There is output: {@link Session.takeOutput} at the end of the turn. */
  onOutput(): void
  /** The peer has opened a stream. Only servers. The handler sets its sink, or resets it. */
  onRequest(stream: Http2Stream, block: FieldBlock, isEnd: boolean): void
  /** The peer's settings have come, or changed. */
  onSettings(isFirst: boolean): void
  /** The peer takes no more streams; those that it will not process are told by their sinks (REFUSED_STREAM). */
  onGoAway(): void
  /** The connection is over: a GOAWAY is in the output, and all streams have been told. */
  onFault(code: number, message: string): void
}

/** Options of a {@link Session}. */
export interface SessionOptions {
  readonly isServer: boolean
  readonly bounds: ListBounds
  /** Streams that the peer may have open at a time; 0 for clients. */
  readonly maxStreams: number
  /** First window of each stream that the peer sends on, and the largest it may grow to, bytes. */
  readonly firstWindow: number
  readonly largestWindow: number
  /** Window of the connection, bytes: what all streams together may leave unread. Default 1048576. */
  readonly connectionWindow?: number
  /** Offers WebSockets (RFC 8441). */
  readonly connectProtocol?: boolean
  /** Multiplies what the peer may do for nothing. Default 1. */
  readonly patience?: number
  /** Time, ms. */
  now(): number
}

/** What may be on its way to the peer, in our memory and the kernel's, before DATA waits, bytes. More would delay other streams. */
export const MAX_UNWRITTEN = 65_536
/** While more output than this has not left, the caller reads nothing: the answers would pile up, bytes. */
export const MAX_UNREAD_OUTPUT = 262_144
/** Window of the connection unless another is given, bytes. */
const CONNECTION_WINDOW = 1 << 20
/** A stream that empties its window within this time gets a larger one, ms. */
const FAST_MS = 100
/** CONTINUATION frames of one header block (CVE-2024-27316). */
const MAX_CONTINUATIONS = 8
/** Streams that are refused one after another. */
const MAX_REFUSED = 128
/** WINDOW_UPDATE frames that a DATA frame of ours excuses: one for the stream, one for the connection. */
const UPDATES_PER_FRAME = 2
/** The most that are excused at a time: as many as can honestly be on their way. */
const MAX_EXCUSED = 16_384
/** A list that exceeds its bound that many times ends the connection. */
const FAR_TOO_LARGE = 4
/** {@link ResetStreams} of servers; a client cancels streams for all of its own clients. */
const REMEMBERED = 256
const REMEMBERED_BY_CLIENTS = 2048
/** A late header block counts against the window of its stream as so many bytes. */
const LATE_BLOCK_BYTES = 8_192

/** An HTTP/2 connection (RFC 9113), of a client or a server: bytes in, bytes out, without I/O. */
export class Session implements FrameHandler {
  readonly isServer: boolean
  /** The peer's limit of streams that we may have open. */
  peerMaxStreams = 100
  /** The peer's settings have come. */
  hasSettings = false
  isClosed = false
  /** Why the peer's frames could not be read; empty while they can. */
  fault = ''
  readonly #handler: SessionHandler
  readonly #options: SessionOptions
  readonly #reader: FrameReader
  readonly #writer = new FrameWriter()
  readonly #decoder: HpackDecoder
  readonly #demerits: Demerits
  readonly #streams = new Map<number, Http2Stream>()
  /** Streams with data to send that have no window, or must wait for the connection; served by turns. */
  readonly #waiting = new Set<Http2Stream>()
  readonly #reset: ResetStreams
  /** WINDOW_UPDATE frames that may be small: they answer DATA of ours, which may have been small. */
  #excused = 0
  #nextId = 1
  /** The last stream that the peer has opened. */
  #lastId = 0
  #sentLastId = LARGEST_ID
  #refused = 0
  #sendWindow = FIRST_WINDOW
  #peerFirstWindow = FIRST_WINDOW
  /** The last stream that the peer will process; all while it has not said so. */
  #peerLastId = LARGEST_ID
  /** The peer takes extended CONNECT (RFC 8441). */
  #peerTakesConnect = false
  readonly #windowBytes: number
  #receiveWindow: number
  /** Received, and not granted again, bytes. */
  #grantable = 0
  /** Received for streams, and not consumed, bytes. */
  #unread = 0
  /** Taken by {@link takeOutput}, and not written, bytes. */
  #unwritten = 0
  #isOutputDue = false
  /** A header block that CONTINUATION frames go on with. */
  #block: { id: number; flags: number; pieces: Buffer[]; bytes: number } | null = null
  /** The stream of the current DATA frame; `null` if its data is dropped. */
  #dataStream: Http2Stream | null = null
  #dataEnds = false

  constructor(handler: SessionHandler, options: SessionOptions) {
    this.#handler = handler
    this.#options = options
    this.isServer = options.isServer
    this.#reset = new ResetStreams(options.isServer ? REMEMBERED : REMEMBERED_BY_CLIENTS)
    this.#reader = new FrameReader(this, options.isServer)
    this.#decoder = new HpackDecoder(options.bounds)
    this.#windowBytes = options.connectionWindow ?? CONNECTION_WINDOW
    this.#receiveWindow = this.#windowBytes
    this.#demerits = new Demerits(options.now, options.patience)
  }

  /** Sends our settings, the first frame of a connection (section 3.4). */
  start(): void {
    const { isServer, maxStreams, bounds, firstWindow, connectProtocol } = this.#options
    if (!isServer) this.#writer.raw(PREFACE)
    const settings = isServer
      ? [SETTING.MAX_CONCURRENT_STREAMS, maxStreams, ...(connectProtocol ? [SETTING.ENABLE_CONNECT_PROTOCOL, 1] : [])]
      : [SETTING.ENABLE_PUSH, 0]
    settings.push(SETTING.MAX_HEADER_LIST_SIZE, bounds.maxHeadBytes)
    if (firstWindow !== FIRST_WINDOW) settings.push(SETTING.INITIAL_WINDOW_SIZE, firstWindow)
    this.#writer.frame(FRAME.SETTINGS, 0, 0, settings.length * 3)
    for (let i = 0; i < settings.length; i += 2) {
      this.#writer.uint16(settings[i] as number)
      this.#writer.uint32(settings[i + 1] as number)
    }
    if (this.#windowBytes > FIRST_WINDOW) this.#writeUint32(FRAME.WINDOW_UPDATE, 0, this.#windowBytes - FIRST_WINDOW)
  }

  /** Streams that are open. */
  get openStreams(): number {
    return this.#streams.size
  }

  /** Whether nothing is in the middle of a frame, or of a header block. */
  get isBetweenFrames(): boolean {
    return !this.#reader.isInFrame && this.#block === null
  }

  /** Whether a header block has begun and is not complete. */
  get isInBlock(): boolean {
    return this.#block !== null
  }

  /** Reads bytes of the peer. */
  receive(bytes: Buffer): void {
    if (this.isClosed) return
    const code = this.#reader.execute(bytes)
    if (code !== CODE.NO_ERROR) this.#fail(code, 'a frame that is not allowed')
  }

  /** Takes the bytes to write. Each needs `releaseOutput()` and {@link onWritten} once it has been written. */
  takeOutput(): Output[] {
    this.#isOutputDue = false
    const taken = this.#writer.take()
    for (const { bytes } of taken) this.#unwritten += bytes
    return taken
  }

  /** So many bytes have left for the kernel: waiting streams go on. */
  onWritten(bytes: number): void {
    this.#unwritten -= bytes
    this.#flushWaiting()
  }

  /** Bytes that have not left for the kernel. While there are many, the caller reads nothing: answers would pile up. */
  get unwritten(): number {
    return this.#unwritten + this.#writer.bytes
  }

  /** Opens a stream. Only clients, within {@link peerMaxStreams} and before a GOAWAY. */
  open(): Http2Stream {
    const stream = new Http2Stream(this, this.#nextId, this.#peerFirstWindow, this.#options.firstWindow)
    this.#nextId += 2
    this.#streams.set(stream.id, stream)
    return stream
  }

  /** Whether no identifiers are left for {@link open} (section 5.1.1). */
  get isUsedUp(): boolean {
    return this.#nextId > LARGEST_ID
  }

  ping(): void {
    this.#writer.frame(FRAME.PING, 0, 0, 8)
    this.#writer.uint32(0x68656464)
    this.#writer.uint32(0x6c650000)
    this.#due()
  }

  /** Announces the end (section 6.8). First with `isFinal` false: streams that are on their way are still taken. */
  goAway(isFinal: boolean, code: number = CODE.NO_ERROR): void {
    const lastId = isFinal ? this.#lastId : LARGEST_ID
    this.#sentLastId = Math.min(this.#sentLastId, lastId)
    this.#writer.frame(FRAME.GOAWAY, 0, 0, 8)
    this.#writer.uint32(this.#sentLastId)
    this.#writer.uint32(code)
    this.#due()
  }

  /** An exchange has ended well: the peer is worth some patience. */
  credit(): void {
    this.#demerits.credit(1)
    this.#refused = 0
  }

  /** The connection is lost: all streams are told. */
  abort(code: number): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#reader.stop()
    this.#closeAll(code)
  }

  // For streams:

  sendHeaders(stream: Http2Stream, pseudo: readonly string[], list: readonly string[], isEnd: boolean): void {
    this.#writer.headers(stream.id, isEnd, stream, pseudo, list)
    this.#due()
  }

  /** Sends as much of `chunk[from, to)` as the windows and the connection take. @returns how many bytes. */
  sendData(stream: Http2Stream, chunk: Buffer, from: number, to: number): number {
    const window = Math.min(to - from, stream.sendWindow, this.#sendWindow, MAX_UNWRITTEN - this.unwritten)
    let sent = 0
    while (sent < window) {
      const take = Math.min(window - sent, MAX_FRAME_BYTES, this.#writer.room)
      this.#writer.data(stream.id, chunk, from + sent, from + sent + take, stream)
      sent += take
    }
    if (sent === 0) return 0
    stream.sendWindow -= sent
    this.#sendWindow -= sent
    this.#excused = Math.min(this.#excused + UPDATES_PER_FRAME, MAX_EXCUSED)
    this.#due()
    return sent
  }

  sendEnd(stream: Http2Stream): void {
    if (this.#writer.endInPlace(stream)) return
    this.#writer.frame(FRAME.DATA, FLAG.END_STREAM, stream.id, 0)
    this.#due()
  }

  wait(stream: Http2Stream): void {
    this.#waiting.add(stream)
  }

  resetStream(stream: Http2Stream, code: number): void {
    this.#writeReset(stream.id, code, stream.receiveWindow)
    this.closeStream(stream)
  }

  closeStream(stream: Http2Stream): void {
    stream.drop()
    this.#streams.delete(stream.id)
    this.#waiting.delete(stream)
    this.#unread -= stream.unread
    stream.unread = 0
    this.#grantConnection()
  }

  consumed(stream: Http2Stream, bytes: number): void {
    if (stream.isClosed) return
    stream.unread -= bytes
    this.#unread -= bytes
    this.#grantConnection()
    stream.grantable += bytes
    if (stream.isRemoteDone || stream.grantable < stream.windowBytes >> 1) return
    const now = this.#options.now()
    const isFast = now - stream.grantedAt < FAST_MS && this.#unread < this.#windowBytes >> 1
    const growth = isFast ? Math.min(stream.windowBytes, this.#options.largestWindow - stream.windowBytes) : 0
    const grant = stream.grantable + growth
    stream.windowBytes += growth
    stream.receiveWindow += grant
    stream.grantable = 0
    stream.grantedAt = now
    this.#writeUint32(FRAME.WINDOW_UPDATE, stream.id, grant)
  }

  // For the reader:

  onFrame(type: number, flags: number, id: number, bytes: Buffer, from: number, to: number): number {
    if (this.#block !== null && (type !== FRAME.CONTINUATION || id !== this.#block.id)) return CODE.PROTOCOL_ERROR
    if (!this.hasSettings && (type !== FRAME.SETTINGS || (flags & FLAG.ACK) !== 0)) return CODE.PROTOCOL_ERROR
    switch (type) {
      case FRAME.HEADERS:
        return this.#onHeaders(flags, id, bytes, from, to)
      case FRAME.CONTINUATION:
        return this.#onContinuation(flags, bytes, from, to)
      case FRAME.PRIORITY:
        return this.#onPriority(id, bytes, from, to)
      case FRAME.RST_STREAM:
        return this.#onReset(id, bytes, from, to)
      case FRAME.SETTINGS:
        return this.#onSettings(flags, id, bytes, from, to)
      case FRAME.PUSH_PROMISE:
        return CODE.PROTOCOL_ERROR
      case FRAME.PING:
        return this.#onPing(flags, id, bytes, from, to)
      case FRAME.GOAWAY:
        return this.#onGoAway(id, bytes, from, to)
      case FRAME.WINDOW_UPDATE:
        return this.#onWindowUpdate(id, bytes, from, to)
      default:
        // Section 5.5: unknown types are ignored.
        return this.#charge(COST.small)
    }
  }

  onDataStart(id: number, length: number, dataBytes: number, isEnd: boolean): number {
    if (this.#block !== null || !this.hasSettings || this.#isIdle(id)) return CODE.PROTOCOL_ERROR
    this.#receiveWindow -= length
    if (this.#receiveWindow < 0) return CODE.FLOW_CONTROL_ERROR
    this.#grantable += length
    const stream = this.#streams.get(id)
    this.#dataStream = stream ?? null
    this.#dataEnds = isEnd
    if (stream === undefined) {
      this.#grantConnection()
      return this.#onClosedStream(id, length)
    }
    if (stream.isRemoteDone) return this.#drop(stream, CODE.STREAM_CLOSED)
    // Section 8.1: a message begins with a head.
    if (!stream.hasHead) return this.#drop(stream, CODE.PROTOCOL_ERROR)
    if (length > stream.receiveWindow) return this.#drop(stream, CODE.FLOW_CONTROL_ERROR)
    stream.receiveWindow -= length
    // Padding is consumed at once.
    stream.grantable += length - dataBytes
    stream.unread += dataBytes
    this.#unread += dataBytes
    this.#grantConnection()
    if (stream.expectedBytes >= 0) {
      stream.expectedBytes -= dataBytes
      // Section 8.1.1.
      if (stream.expectedBytes < 0 || (isEnd && stream.expectedBytes > 0))
        return this.#drop(stream, CODE.PROTOCOL_ERROR)
    }
    return dataBytes === 0 && !isEnd ? this.#charge(COST.emptyData) : CODE.NO_ERROR
  }

  onData(bytes: Buffer, from: number, to: number): void {
    const stream = this.#dataStream
    if (stream === null || stream.isClosed) return
    stream.sink?.onData(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to))
  }

  onDataEnd(): void {
    const stream = this.#dataStream
    this.#dataStream = null
    if (stream !== null && this.#dataEnds && !stream.isClosed) this.#remoteEnd(stream, null)
  }

  /** Section 6.2. */
  #onHeaders(flags: number, id: number, bytes: Buffer, start: number, end: number): number {
    if (id === 0) return CODE.PROTOCOL_ERROR
    let from = start
    let to = end
    if ((flags & FLAG.PADDED) !== 0) {
      if (from === to) return CODE.FRAME_SIZE_ERROR
      to -= bytes[from++] as number
      if (to < from) return CODE.PROTOCOL_ERROR
    }
    if ((flags & FLAG.PRIORITY) !== 0) {
      if (to - from < 5) return CODE.FRAME_SIZE_ERROR
      from += 5
    }
    if ((flags & FLAG.END_HEADERS) !== 0) return this.#onBlock(flags, id, bytes, from, to)
    this.#block = { id, flags, pieces: [Buffer.from(bytes.subarray(from, to))], bytes: to - from }
    return CODE.NO_ERROR
  }

  /** Section 6.10. */
  #onContinuation(flags: number, bytes: Buffer, from: number, to: number): number {
    const block = this.#block
    if (block === null) return CODE.PROTOCOL_ERROR
    block.bytes += to - from
    const isFlood =
      block.pieces.length > MAX_CONTINUATIONS || block.bytes > this.#options.bounds.maxHeadBytes + MAX_FRAME_BYTES
    if (isFlood) return CODE.ENHANCE_YOUR_CALM
    block.pieces.push(Buffer.from(bytes.subarray(from, to)))
    if ((flags & FLAG.END_HEADERS) === 0) return CODE.NO_ERROR
    this.#block = null
    return this.#onBlock(block.flags, block.id, Buffer.concat(block.pieces), 0, block.bytes)
  }

  /** A whole header block. It is decoded in any case, or the table would be wrong. */
  #onBlock(flags: number, id: number, bytes: Buffer, from: number, to: number): number {
    const isEnd = (flags & FLAG.END_STREAM) !== 0
    const known = this.#streams.get(id)
    if (known === undefined && !this.isServer && this.#isIdle(id)) return CODE.PROTOCOL_ERROR
    const block = this.#decoder.decode(bytes, from, to)
    if (block === null) return CODE.COMPRESSION_ERROR
    if (block.bytes > FAR_TOO_LARGE * this.#options.bounds.maxHeadBytes) return CODE.ENHANCE_YOUR_CALM
    if (known !== undefined) return this.#onLaterBlock(known, block, isEnd)
    if (this.#isIdle(id)) return this.#onNewStream(id, block, isEnd)
    // Section 5.1, closed. A client shares the connection: what is wrong with one stream must not end the others.
    return this.#onLate(id, LATE_BLOCK_BYTES) ?? (this.isServer ? CODE.STREAM_CLOSED : this.#charge(COST.closed))
  }

  #onNewStream(id: number, block: FieldBlock, isEnd: boolean): number {
    if ((id & 1) === 0) return CODE.PROTOCOL_ERROR
    this.#lastId = id
    if (id > this.#sentLastId || this.#streams.size >= this.#options.maxStreams) {
      this.#writeReset(id, CODE.REFUSED_STREAM, this.#options.firstWindow)
      return ++this.#refused >= MAX_REFUSED ? CODE.ENHANCE_YOUR_CALM : CODE.NO_ERROR
    }
    this.#refused = 0
    const stream = new Http2Stream(this, id, this.#peerFirstWindow, this.#options.firstWindow)
    this.#streams.set(id, stream)
    stream.hasHead = true
    stream.isRemoteDone = isEnd
    if (block.isMalformed) return this.#drop(stream, CODE.PROTOCOL_ERROR)
    this.#handler.onRequest(stream, block, isEnd)
    // Refused by the handler: we had to reset it, as if we had found the fault.
    return stream.isClosed && stream.sink === null ? this.#charge(COST.fault) : CODE.NO_ERROR
  }

  /** Trailers, or the head of a response. */
  #onLaterBlock(stream: Http2Stream, block: FieldBlock, isEnd: boolean): number {
    if (stream.isRemoteDone) return this.#drop(stream, CODE.STREAM_CLOSED)
    if (block.isMalformed) return this.#drop(stream, CODE.PROTOCOL_ERROR)
    if (!stream.hasHead) {
      stream.isRemoteDone = isEnd
      stream.sink?.onHead(block, isEnd)
      if (isEnd && stream.isLocalDone && !stream.isClosed) this.closeStream(stream)
      return CODE.NO_ERROR
    }
    // Section 8.1: a trailer section ends the stream. Section 8.3: it has no pseudo-header fields.
    if (!isEnd || block.pseudo.length > 0 || stream.expectedBytes > 0) return this.#drop(stream, CODE.PROTOCOL_ERROR)
    if (block.isTooLarge) return this.#drop(stream, CODE.ENHANCE_YOUR_CALM)
    this.#remoteEnd(stream, block.list)
    return CODE.NO_ERROR
  }

  /** Section 6.3; RFC 9218 has replaced it. */
  #onPriority(id: number, bytes: Buffer, from: number, to: number): number {
    if (id === 0) return CODE.PROTOCOL_ERROR
    if (to - from !== 5) return this.#resetById(id, CODE.FRAME_SIZE_ERROR)
    if (readUint31(bytes, from) === id) return this.#resetById(id, CODE.PROTOCOL_ERROR)
    return this.#charge(COST.small)
  }

  /** Section 6.4. */
  #onReset(id: number, bytes: Buffer, from: number, to: number): number {
    if (this.#isIdle(id)) return CODE.PROTOCOL_ERROR
    if (to - from !== 4) return CODE.FRAME_SIZE_ERROR
    const stream = this.#streams.get(id)
    if (stream === undefined) return this.#charge(COST.closed)
    this.closeStream(stream)
    stream.sink?.onReset(readUint32(bytes, from), false)
    return this.isServer ? this.#charge(COST.reset) : CODE.NO_ERROR
  }

  /** Section 6.5. */
  #onSettings(flags: number, id: number, bytes: Buffer, from: number, to: number): number {
    if (id !== 0) return CODE.PROTOCOL_ERROR
    if ((flags & FLAG.ACK) !== 0) return to > from ? CODE.FRAME_SIZE_ERROR : this.#charge(COST.small)
    if ((to - from) % 6 !== 0) return CODE.FRAME_SIZE_ERROR
    for (let i = from; i < to; i += 6) {
      const code = this.#onSetting(((bytes[i] as number) << 8) | (bytes[i + 1] as number), readUint32(bytes, i + 2))
      if (code !== CODE.NO_ERROR) return code
    }
    this.#writer.frame(FRAME.SETTINGS, FLAG.ACK, 0, 0)
    this.#due()
    const isFirst = !this.hasSettings
    this.hasSettings = true
    this.#handler.onSettings(isFirst)
    return isFirst ? CODE.NO_ERROR : this.#charge(COST.answered)
  }

  #onSetting(name: number, value: number): number {
    switch (name) {
      case SETTING.HEADER_TABLE_SIZE:
        this.#writer.encoder.resize(value)
        return CODE.NO_ERROR
      case SETTING.ENABLE_PUSH:
        return value > 1 || (value === 1 && !this.isServer) ? CODE.PROTOCOL_ERROR : CODE.NO_ERROR
      case SETTING.MAX_CONCURRENT_STREAMS:
        this.peerMaxStreams = value
        return CODE.NO_ERROR
      case SETTING.INITIAL_WINDOW_SIZE:
        return this.#onFirstWindow(value)
      case SETTING.MAX_FRAME_SIZE:
        // Our frames are of the size that every peer takes.
        return value < MAX_FRAME_BYTES || value > LARGEST_FRAME_BYTES ? CODE.PROTOCOL_ERROR : CODE.NO_ERROR
      case SETTING.ENABLE_CONNECT_PROTOCOL:
        if (value > 1 || (this.#peerTakesConnect && value === 0)) return CODE.PROTOCOL_ERROR
        this.#peerTakesConnect = value === 1
        return CODE.NO_ERROR
      default:
        return CODE.NO_ERROR
    }
  }

  /** Section 6.9.2: it changes the windows of all streams, which may become negative. */
  #onFirstWindow(bytes: number): number {
    if (bytes > LARGEST_WINDOW) return CODE.FLOW_CONTROL_ERROR
    const change = bytes - this.#peerFirstWindow
    this.#peerFirstWindow = bytes
    for (const stream of this.#streams.values()) {
      stream.sendWindow += change
      if (stream.sendWindow > LARGEST_WINDOW) return CODE.FLOW_CONTROL_ERROR
    }
    if (change > 0) this.#flushWaiting()
    return CODE.NO_ERROR
  }

  /** Section 6.7. */
  #onPing(flags: number, id: number, bytes: Buffer, from: number, to: number): number {
    if (id !== 0) return CODE.PROTOCOL_ERROR
    if (to - from !== 8) return CODE.FRAME_SIZE_ERROR
    if ((flags & FLAG.ACK) !== 0) return this.#charge(COST.small)
    this.#writer.frame(FRAME.PING, FLAG.ACK, 0, 8)
    this.#writer.uint32(readUint32(bytes, from))
    this.#writer.uint32(readUint32(bytes, from + 4))
    this.#due()
    return this.#charge(COST.answered)
  }

  /** Section 6.8. */
  #onGoAway(id: number, bytes: Buffer, from: number, to: number): number {
    if (id !== 0) return CODE.PROTOCOL_ERROR
    if (to - from < 8) return CODE.FRAME_SIZE_ERROR
    const lastId = readUint31(bytes, from)
    // It may only become smaller.
    if (lastId > this.#peerLastId) return CODE.PROTOCOL_ERROR
    this.#peerLastId = lastId
    this.#handler.onGoAway()
    if (!this.isServer) {
      for (const stream of [...this.#streams.values()]) {
        if (stream.id <= lastId) continue
        this.closeStream(stream)
        stream.sink?.onReset(CODE.REFUSED_STREAM, false)
      }
    }
    return this.#charge(COST.answered)
  }

  /** Section 6.9. */
  #onWindowUpdate(id: number, bytes: Buffer, from: number, to: number): number {
    if (to - from !== 4) return CODE.FRAME_SIZE_ERROR
    const grant = readUint31(bytes, from)
    if (id === 0) {
      if (grant === 0) return CODE.PROTOCOL_ERROR
      this.#sendWindow += grant
      if (this.#sendWindow > LARGEST_WINDOW) return CODE.FLOW_CONTROL_ERROR
      this.#flushWaiting()
    } else {
      if (this.#isIdle(id)) return CODE.PROTOCOL_ERROR
      const stream = this.#streams.get(id)
      // Section 5.1: it may come for a while after the stream has closed.
      if (stream === undefined) return this.#chargeUpdate()
      if (grant === 0) return this.#drop(stream, CODE.PROTOCOL_ERROR)
      stream.sendWindow += grant
      if (stream.sendWindow > LARGEST_WINDOW) return this.#drop(stream, CODE.FLOW_CONTROL_ERROR)
      if (this.#waiting.has(stream)) this.#flushStream(stream)
    }
    return grant < SMALL_UPDATE ? this.#chargeUpdate() : CODE.NO_ERROR
  }

  #chargeUpdate(): number {
    if (this.#excused === 0) return this.#charge(COST.small)
    this.#excused--
    return CODE.NO_ERROR
  }

  /** Whether nobody has opened the stream yet; 0 is none. */
  #isIdle(id: number): boolean {
    const isPeers = (id & 1) === (this.isServer ? 1 : 0)
    return id === 0 || (isPeers ? id > this.#lastId : id >= this.#nextId || this.isServer)
  }

  /** DATA on a stream that is over. */
  #onClosedStream(id: number, length: number): number {
    const code = this.#onLate(id, length)
    if (code !== null) return code
    this.#writeReset(id, CODE.STREAM_CLOSED, 0)
    return this.#charge(COST.closed)
  }

  /** A frame on a stream that we have reset is ignored. @returns `null` if we have not reset it. */
  #onLate(id: number, bytes: number): number | null {
    const lateness = this.#reset.take(id, bytes)
    if (lateness === 'not reset') return null
    return lateness === 'late' ? CODE.NO_ERROR : this.#charge(COST.small)
  }

  #resetById(id: number, code: number): number {
    const stream = this.#streams.get(id)
    if (stream !== undefined) return this.#drop(stream, code)
    // Section 5.4.2: an idle stream cannot be reset.
    if (this.#isIdle(id)) return code
    this.#writeReset(id, code, 0)
    return this.#charge(COST.fault)
  }

  /** A stream error (section 5.4.2). */
  #drop(stream: Http2Stream, code: number): number {
    this.resetStream(stream, code)
    stream.sink?.onReset(code, true)
    return this.#charge(COST.fault)
  }

  #charge(points: number): number {
    return this.#demerits.add(points) ? CODE.NO_ERROR : CODE.ENHANCE_YOUR_CALM
  }

  #remoteEnd(stream: Http2Stream, trailers: HeaderList | null): void {
    stream.isRemoteDone = true
    stream.sink?.onEnd(trailers)
    if (stream.isLocalDone && !stream.isClosed) this.closeStream(stream)
  }

  /**
   * Refills the connection's window at once; a server only if the streams leave little unread. A client's connection has responses for
   * many others, who must not wait for the slow ones: only the windows of the streams bound the memory.
   */
  #grantConnection(): void {
    if (this.#grantable < this.#windowBytes >> 1 || (this.isServer && this.#unread > this.#windowBytes)) return
    this.#receiveWindow += this.#grantable
    this.#writeUint32(FRAME.WINDOW_UPDATE, 0, this.#grantable)
    this.#grantable = 0
  }

  #flushWaiting(): void {
    for (const stream of [...this.#waiting]) {
      if (this.#sendWindow <= 0 || this.unwritten >= MAX_UNWRITTEN) return
      this.#flushStream(stream)
    }
  }

  /** A stream that could not send all goes to the end of the line. */
  #flushStream(stream: Http2Stream): void {
    this.#waiting.delete(stream)
    if (!stream.isClosed && !stream.flush()) this.#waiting.add(stream)
  }

  #closeAll(code: number): void {
    for (const stream of [...this.#streams.values()]) {
      this.closeStream(stream)
      stream.sink?.onReset(code, false)
    }
  }

  /** A connection error (section 5.4.1). */
  #fail(code: number, message: string): void {
    if (this.isClosed) return
    this.fault = `${codeName(code)}: ${message}`
    this.goAway(true, code)
    this.abort(code)
    this.#handler.onFault(code, this.fault)
  }

  #writeReset(id: number, code: number, lateBytes: number): void {
    this.#reset.add(id, lateBytes)
    this.#writeUint32(FRAME.RST_STREAM, id, code)
  }

  #writeUint32(type: number, id: number, value: number): void {
    this.#writer.frame(type, 0, id, 4)
    this.#writer.uint32(value)
    this.#due()
  }

  #due(): void {
    if (this.#isOutputDue) return
    this.#isOutputDue = true
    this.#handler.onOutput()
  }
}
