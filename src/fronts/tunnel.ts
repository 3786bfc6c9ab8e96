import type { Socket } from 'node:net'
import { warnOf } from '../model/heed.ts'
import { atEndOfTurn, type Writer } from '../model/turn.ts'
import { CLOSE_TO_BACKEND, CLOSE_TO_CLIENT, FrameFollower } from './websocket-frames.ts'

/** What a tunnel tells the exchange that it belongs to. */
export interface TunnelEvents {
  onClientBytes(bytes: number): void
  onBackendBytes(bytes: number): void
  /** Something else has moved: one side has ended. */
  onProgress(): void
  /** Both connections are closed. */
  onTunnelClosed(): void
}

/** What is held for the end of a turn is written at once past this, bytes: as much as node reads at a time. */
const HOLD_BYTES = 65_536

/**
 * Two joined connections. Their ends are passed on one by one, so that one side may finish after the other
 * has (RFC 9293 section 3.6); when one connection is closed, the other follows once it has what was meant for it.
 */
export class Tunnel {
  readonly isWebSocket: boolean
  readonly #client: Side
  readonly #backend: Side
  #isHalfClosed = false

  /** Takes over from the pipes that join the two. */
  constructor(client: Socket, backend: Socket, isWebSocket: boolean, events: TunnelEvents) {
    this.isWebSocket = isWebSocket
    client.unpipe(backend)
    backend.unpipe(client)
    this.#client = new Side(client, isWebSocket ? CLOSE_TO_BACKEND : null, backend)
    this.#backend = new Side(backend, isWebSocket ? CLOSE_TO_CLIENT : null, client)
    client.on('data', (chunk: Buffer) => {
      events.onClientBytes(chunk.length)
      this.#client.onData(chunk)
    })
    backend.on('data', (chunk: Buffer) => {
      events.onBackendBytes(chunk.length)
      this.#backend.onData(chunk)
    })
    for (const [side, other] of [
      [this.#client, backend],
      [this.#backend, client],
    ] as const) {
      const { socket } = side
      other.on('drain', () => socket.resume())
      socket.on('end', () => {
        side.writeOut()
        other.end()
        this.#isHalfClosed = true
        events.onProgress()
      })
      socket.on('close', (hadError: boolean) => {
        if (hadError) other.destroy()
        else {
          side.writeOut()
          other.destroySoon()
        }
        if (other.closed) events.onTunnelClosed()
      })
      socket.resume()
    }
  }

  /** One side has ended. */
  get isHalfClosed(): boolean {
    return this.#isHalfClosed
  }

  /** Asks both ends of a WebSocket to close, each as soon as it is not in the middle of a frame. */
  goAway(): void {
    this.#client.goAway()
    this.#backend.goAway()
  }

  destroy(): void {
    this.#client.socket.destroy()
    this.#backend.socket.destroy()
  }
}

/** The bytes that come from `socket` and go to `other`, at the end of the turn that brings them. */
class Side implements Writer {
  readonly socket: Socket
  readonly #other: Socket
  readonly #closeFrame: Uint8Array | null
  readonly #frames = new FrameFollower()
  /** Nearly always a turn brings one chunk. */
  #held: Buffer | null = null
  #heldMore: Buffer[] = []
  #heldBytes = 0
  #isGoingAway = false

  constructor(socket: Socket, closeFrame: Uint8Array | null, other: Socket) {
    this.socket = socket
    this.#closeFrame = closeFrame
    this.#other = other
  }

  onData(chunk: Buffer): void {
    if (this.#held === null) {
      this.#held = chunk
      atEndOfTurn(this)
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
    warnOf('an upgraded connection')(error)
    this.socket.destroy()
    this.#other.destroy()
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
