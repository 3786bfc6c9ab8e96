import net from 'node:net'
import type { ListenAddress, ListenOptions } from '../contracts/executor.ts'
import { listen as listenOn } from '../fronts/listen.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Thread } from './handle.ts'
import type { ThreadReports } from './reports.ts'

/** Accepts connections in the main thread, and hands each to the thread that has the fewest. */
export class Acceptor {
  readonly #server: net.Server
  readonly #serving: () => readonly Thread[]
  readonly #reports: ThreadReports

  /** @param serving the threads that serve now. */
  constructor(serving: () => readonly Thread[], reports: ThreadReports) {
    this.#serving = serving
    this.#reports = reports
    this.#server = net.createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true }, (socket) =>
      this.#handOn(socket),
    )
  }

  listen(options: ListenOptions): Promise<ListenAddress> {
    return listenOn(this.#server, options)
  }

  async close(): Promise<void> {
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve))
  }

  #handOn(socket: net.Socket): void {
    let least: Thread | null = null
    for (const thread of this.#serving()) {
      if (least === null || thread.counters.connections < least.counters.connections) least = thread
    }
    if (least === null) {
      this.#reports.log('error', { client: socket.remoteAddress }, 'no thread serves: a connection is refused')
      socket.destroy()
      return
    }
    try {
      least.take(socket)
    } catch (error) {
      // The client went away between its connection and now.
      this.#reports.log(
        'debug',
        { err: error },
        `a connection could not be handed to a thread: ${describeError(error)}`,
      )
      socket.destroy()
    }
  }
}
