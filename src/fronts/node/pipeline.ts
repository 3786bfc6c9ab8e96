import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { currentResponse, keepPaused, onSocketAssigned, pauseReading, resumeReading } from '../node-internals.ts'

/** So many requests may wait on a connection before no more is read from it. Below, it is read, so as to hear that the client goes. */
const MAX_WAITING = 16

const LINE = Symbol('line')

/** What we keep on a client's connection. */
interface Marked {
  [LINE]?: Line
}

/** What waits for its turn. Exactly one of the two is called, once. */
export interface Waiting {
  /** The responses before it are out. */
  onTurn(): void
  /** The connection has ended before. */
  onGone(): void
}

/** Whether the response before `res` on its connection is not out yet: node's server hands out requests as it reads them. */
export function isBehindAnother(socket: Socket, res: ServerResponse): boolean {
  const before = currentResponse(socket) ?? null
  return res.socket === null && before !== null && before !== res && !res.writableFinished && !res.destroyed
}

/** Has a request that {@link isBehindAnother} wait until the response before it is out. */
export function waitForTurn(socket: Socket, res: ServerResponse, waiting: Waiting): void {
  const marked = socket as Marked
  marked[LINE] ??= new Line(socket)
  marked[LINE].add(res, waiting)
}

/** The requests of one connection that wait. */
class Line {
  readonly #socket: Socket
  readonly #waiting = new Set<Waiting>()
  #isPaused = false

  constructor(socket: Socket) {
    this.#socket = socket
    socket
      .on('drain', () => {
        // node reads on now, whatever it has been paused for.
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

  /** As node does it where responses pile up. */
  #pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    pauseReading(this.#socket)
  }

  #resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    // If the client reads too slowly, node reads on when it has read.
    if (!this.#socket.writableNeedDrain) resumeReading(this.#socket)
  }
}
