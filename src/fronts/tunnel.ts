import type { Socket } from 'node:net'
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

/**
 * Two connections that pipes join. Their ends are passed on one by one, so that one side may finish after the other
 * has (RFC 9293 section 3.6); when one connection is closed, the other follows once it has what was meant for it.
 */
export class Tunnel {
  readonly isWebSocket: boolean
  readonly #client: Side
  readonly #backend: Side
  #isHalfClosed = false

  constructor(client: Socket, backend: Socket, isWebSocket: boolean, events: TunnelEvents) {
    this.isWebSocket = isWebSocket
    this.#client = new Side(client, isWebSocket ? CLOSE_TO_BACKEND : null, backend)
    this.#backend = new Side(backend, isWebSocket ? CLOSE_TO_CLIENT : null, client)
    // Before the pipes write it.
    client.prependListener('data', (chunk: Buffer) => {
      events.onClientBytes(chunk.length)
      this.#client.onData(chunk)
    })
    backend.prependListener('data', (chunk: Buffer) => {
      events.onBackendBytes(chunk.length)
      this.#backend.onData(chunk)
    })
    for (const [socket, other] of [
      [client, backend],
      [backend, client],
    ] as const) {
      socket.on('end', () => {
        this.#isHalfClosed = true
        events.onProgress()
      })
      socket.on('close', (hadError: boolean) => {
        if (hadError) other.destroy()
        else other.destroySoon()
        if (other.closed) events.onTunnelClosed()
      })
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
  #isGoingAway = false
  #isHeld = false

  constructor(socket: Socket, closeFrame: Uint8Array | null, other: Socket) {
    this.socket = socket
    this.#closeFrame = closeFrame
    this.#other = other
  }

  onData(chunk: Buffer): void {
    if (!this.#isHeld) {
      this.#isHeld = true
      this.#other.cork()
      atEndOfTurn(this)
    }
    if (this.#closeFrame !== null) this.#frames.follow(chunk)
  }

  writeOut(): void {
    this.#isHeld = false
    if (this.#isGoingAway) this.goAway()
    this.#other.uncork()
  }

  goAway(): void {
    this.#isGoingAway = !this.#frames.isBetweenFrames
    if (this.#closeFrame !== null && !this.#isGoingAway && this.#other.writable) this.#other.write(this.#closeFrame)
  }
}
