import type net from 'node:net'
import type { Socket } from 'node:net'
import type { MessagePort } from 'node:worker_threads'
import type { CheckedListenOptions, ListenAddress } from '../contracts/executor.ts'
import { listen } from '../fronts/listen.ts'
import type { HandedOver } from './protocol.ts'

/** The connections of a thread's server, counted in shared memory for the main thread, and its listening sockets. */
export class ThreadConnections {
  readonly #server: net.Server
  readonly #listen: CheckedListenOptions | null
  readonly #counters: Float64Array
  /** The servers that accept connections: the thread's own, and those adopted from earlier threads. */
  readonly #listeners: net.Server[] = []

  /**
   * @param listen `null`: the acceptor hands connections to this thread, and counts them.
   * @param counters of the thread's slot: connections opened, connections closed, listening sockets.
   */
  constructor(server: net.Server, listen: CheckedListenOptions | null, counters: Float64Array) {
    this.#server = server
    this.#listen = listen
    this.#counters = counters
    server.on('connection', (socket: Socket) => {
      if (listen !== null) this.#add(0)
      socket.once('close', () => this.#add(1))
    })
  }

  /** Number of open connections. */
  readonly open = (): number => (this.#counters[0] ?? 0) - (this.#counters[1] ?? 0)

  get listeners(): readonly net.Server[] {
    return this.#listeners
  }

  /** Starts to listen, on a port shared with other threads. */
  async listen(): Promise<ListenAddress> {
    const address = await listen(this.#server, this.#listen as CheckedListenOptions, true)
    this.#addListener(this.#server)
    return address
  }

  /** Hands `count` listening sockets to another thread, the adopted ones first. */
  handOver(count: number, to: MessagePort): void {
    for (const listener of this.#listeners.splice(-count)) {
      to.postMessage(listener satisfies HandedOver, [listener as never])
    }
    this.#counters[2] = this.#listeners.length
    to.close()
  }

  /** Adopts the listening sockets that {@link handOver} of another thread sends. */
  adopt(from: MessagePort): void {
    from.on('message', (listener: HandedOver) => {
      listener.maxConnections = this.#server.maxConnections
      listener.on('connection', (socket) => this.#server.emit('connection', socket))
      this.#addListener(listener)
    })
    // Nothing came: the other thread has died.
    from.once('close', () => {
      if (this.#listeners.length === 0) void this.listen()
    })
  }

  #addListener(listener: net.Server): void {
    this.#listeners.push(listener)
    this.#counters[2] = this.#listeners.length
  }

  #add(index: number): void {
    this.#counters[index] = (this.#counters[index] ?? 0) + 1
  }
}
