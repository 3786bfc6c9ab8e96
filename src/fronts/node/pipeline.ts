import { AsyncResource } from 'node:async_hooks'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  currentResponse,
  emitDrain,
  keepPaused,
  onSocketAssigned,
  pauseReading,
  resumeReading,
} from '../node-internals.ts'

/** Requests that may wait on a connection before reading stops. Up to then reading continues, so that a disconnect is noticed. */
const MAX_WAITING = 16

const LINE = Symbol('line')

/** Our field on a client's connection. */
interface Marked {
  [LINE]?: Line
}

/** A request that waits for its turn. Exactly one of the two methods is called, once. */
export interface Waiting {
  /** The responses before it have been sent. */
  onTurn(): void
  /** The connection has ended first. */
  onGone(): void
}

/** Whether the response before `res` on its connection is not finished yet: node's server emits requests as it reads them. */
export function isBehindAnother(socket: Socket, res: ServerResponse): boolean {
  const before = currentResponse(socket) ?? null
  return res.socket === null && before !== null && before !== res && !res.writableFinished && !res.destroyed
}

/** Makes a request that {@link isBehindAnother} wait until the response before it has been sent. */
export function waitForTurn(socket: Socket, res: ServerResponse, waiting: Waiting): void {
  const marked = socket as Marked
  marked[LINE] ??= new Line(socket)
  marked[LINE].add(res, waiting)
}

/**
 * Calls `serve` when the response before an upgrade in its pipeline is finished.
 * @param stream stands for the socket if the upgrade has a body.
 */
export function afterEarlierResponse(socket: Socket, stream: Duplex, serve: () => void): void {
  const earlier = currentResponse(socket)
  if (!earlier) return serve()
  const onDrain = (): void => emitDrain(earlier)
  stream.on('drain', onDrain)
  const onTurn = AsyncResource.bind(() => {
    stream.off('drain', onDrain)
    afterEarlierResponse(socket, stream, serve)
  })
  earlier.once('close', onTurn)
}

/** The waiting requests of one connection. */
class Line {
  readonly #socket: Socket
  readonly #waiting = new Set<Waiting>()
  #isPaused = false

  constructor(socket: Socket) {
    this.#socket = socket
    socket
      .on('drain', () => {
        // node now resumes reading, whatever the reason for the pause.
        if (this.#isPaused) keepPaused(socket)
      })
      .once('close', () => {
        for (const waiting of this.#waiting) waiting.onGone()
        this.#waiting.clear()
      })
  }

  add(res: ServerResponse, waiting: Waiting): void {
    this.#waiting.add(waiting)
    if (this.#waiting.size > MAX_WAITING) this.#pause()
    onSocketAssigned(res, () => {
      if (!this.#waiting.delete(waiting)) return
      if (this.#waiting.size === 0) this.#resume()
      waiting.onTurn()
    })
  }

  /** As node does if responses pile up. */
  #pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    pauseReading(this.#socket)
  }

  #resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    // If the client reads too slowly, node resumes when the client has read.
    if (!this.#socket.writableNeedDrain) resumeReading(this.#socket)
  }
}
