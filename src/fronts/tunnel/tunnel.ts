import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TunnelEvents, Tunnelled } from '../../exchange/front.ts'
import { addToWriteBatch, type Writer } from '../../runtime/write-batch.ts'
import { CLOSE_TO_BACKEND, CLOSE_TO_CLIENT, FrameFollower } from './websocket-frames.ts'

/** Bytes held for the end of a turn are written at once past this size: as much as node reads at a time. */
const HOLD_BYTES = 65_536

/**
 * Two joined connections. Their ends are passed on one by one, so that one side may finish after the other has (RFC 9293 section
 * 3.6). When one connection is closed, the other follows after it has received the bytes meant for it.
 */
export class Tunnel implements Tunnelled {
  readonly isWebSocket: boolean
  readonly #client: Side
  readonly #backend: Side
  /** Takes bytes from the client. */
  readonly onClientData: (chunk: Buffer) => void
  #isHalfClosed = false

  constructor(client: Duplex, backend: Duplex, isWebSocket: boolean, events: TunnelEvents) {
    this.isWebSocket = isWebSocket
    this.#client = new Side(client, isWebSocket ? CLOSE_TO_BACKEND : null, backend, events)
    this.#backend = new Side(backend, isWebSocket ? CLOSE_TO_CLIENT : null, client, events)
    const guarded =
      <Args extends unknown[]>(call: (...args: Args) => void) =>
      (...args: Args): void => {
        try {
          call(...args)
        } catch (thrown) {
          events.onThrown(thrown)
        }
      }
    this.onClientData = guarded((chunk: Buffer) => {
      events.onClientBytes(chunk.length)
      this.#client.onData(chunk)
    })
    const onBackendData = guarded((chunk: Buffer) => {
      events.onBackendBytes(chunk.length)
      this.#backend.onData(chunk)
    })
    for (const [side, other, onData] of [
      [this.#client, backend, this.onClientData],
      [this.#backend, client, onBackendData],
    ] as const) {
      const { socket } = side
      other.on(
        'drain',
        guarded(() => void socket.resume()),
      )
      other.on(
        'finish',
        guarded(() => events.onProgress()),
      )
      socket.on('data', onData)
      socket.on(
        'end',
        guarded(() => {
          side.writeOut()
          other.end()
          this.#isHalfClosed = true
          events.onProgress()
        }),
      )
      socket.on(
        'close',
        guarded(() => {
          this.#isHalfClosed = true
          if (socket.errored !== null) other.destroy()
          else {
            side.writeOut()
            destroySoon(other)
          }
          if (other.closed) events.onTunnelClosed()
          else events.onProgress()
        }),
      )
      socket.resume()
    }
  }

  /** Whether one side has ended. */
  get isHalfClosed(): boolean {
    return this.#isHalfClosed
  }

  /** Bytes that the client has not taken yet, if its connection ends after them. */
  get bytesToEndingClient(): number {
    return bytesToEnding(this.#client.socket)
  }

  /** Bytes that the backend has not taken yet, if its connection ends after them. */
  get bytesToEndingBackend(): number {
    return bytesToEnding(this.#backend.socket)
  }

  /** Asks both ends of a WebSocket to close, each as soon as it is not in the middle of a frame. */
  goAway(): void {
    this.#client.goAway()
    this.#backend.goAway()
  }

  /** Ends the connection to the backend. The exchange ends the client's. */
  destroy(): void {
    this.#backend.socket.destroy()
  }
}

function bytesToEnding(stream: Duplex): number {
  return stream.writableEnded && !stream.destroyed ? stream.writableLength : 0
}

/** Ends the stream, and closes it after all written bytes have been sent. Only sockets of node:net have a method for it. */
function destroySoon(stream: Duplex): void {
  if (typeof (stream as Partial<Socket>).destroySoon === 'function') return (stream as Socket).destroySoon()
  if (stream.writable) stream.end()
  if (stream.writableFinished) stream.destroy()
  else stream.once('finish', () => stream.destroy())
}

/** One direction: passes bytes from `socket` to `other`, at the end of the turn that brings them. */
class Side implements Writer {
  readonly socket: Duplex
  readonly #other: Duplex
  readonly #closeFrame: Uint8Array | null
  readonly #events: TunnelEvents
  readonly #frames = new FrameFollower()
  /** A turn nearly always brings one chunk. */
  #held: Buffer | null = null
  #heldMore: Buffer[] = []
  #heldBytes = 0
  #isGoingAway = false

  constructor(socket: Duplex, closeFrame: Uint8Array | null, other: Duplex, events: TunnelEvents) {
    this.socket = socket
    this.#closeFrame = closeFrame
    this.#other = other
    this.#events = events
  }

  onData(chunk: Buffer): void {
    if (this.#held === null) {
      this.#held = chunk
      addToWriteBatch(this)
    } else this.#heldMore.push(chunk)
    if (this.#closeFrame !== null) this.#frames.follow(chunk)
    this.#heldBytes += chunk.length
    if (this.#heldBytes >= HOLD_BYTES) this.writeOut()
  }

  writeOut(): void {
    if (this.#held !== null) this.#write(this.#held)
    if (this.#isGoingAway && this.#frames.isBetweenFrames) {
      this.#isGoingAway = false
      if (this.#closeFrame !== null && this.#other.writable) this.#other.write(this.#closeFrame)
    }
  }

  onWriteThrew(error: unknown): void {
    this.#events.onThrown(error)
  }

  goAway(): void {
    this.#isGoingAway = true
    this.writeOut()
  }

  #write(first: Buffer): void {
    const more = this.#heldMore
    const other = this.#other
    this.#held = null
    this.#heldBytes = 0
    if (!other.writable) {
      this.#heldMore = []
      return
    }
    if (more.length === 0) other.write(first)
    else {
      this.#heldMore = []
      other.cork()
      other.write(first)
      for (const chunk of more) other.write(chunk)
      other.uncork()
    }
    if (other.writableNeedDrain) this.socket.pause()
  }
}
