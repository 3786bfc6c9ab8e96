import net from 'node:net'
import type { CheckedListenOptions, ListenAddress } from '../contracts/executor.ts'
import { listen as listenOn } from '../fronts/listen.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Thread } from './handle.ts'
import type { ThreadReports } from './reports.ts'

/** Accepts connections in the main thread, and hands each to the thread with the fewest connections. */
export class Acceptor {
  readonly #server: net.Server
  readonly #serving: () => readonly Thread[]
  readonly #reports: ThreadReports

  /** @param serving returns the threads that serve now. */
  constructor(serving: () => readonly Thread[], reports: ThreadReports) {
    this.#serving = serving
    this.#reports = reports
    this.#server = net.createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true }, (socket) =>
      this.#distribute(socket),
    )
  }

  listen(options: CheckedListenOptions): Promise<ListenAddress> {
    return listenOn(this.#server, options)
  }

  async close(): Promise<void> {
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve))
  }

  #distribute(socket: net.Socket): void {
    let least: Thread | null = null
    for (const thread of this.#serving()) {
      if (least === null || thread.counters.connections < least.counters.connections) least = thread
    }
    if (least === null) {
      this.#reports.log('error', { client: socket.remoteAddress }, 'no thread is serving: a connection is refused')
      socket.destroy()
      return
    }
    try {
      least.take(socket)
    } catch (error) {
      // The client has disconnected in the meantime.
      this.#reports.log('debug', { err: error }, `cannot hand a connection to a thread: ${describeError(error)}`)
      socket.destroy()
    }
  }
}
