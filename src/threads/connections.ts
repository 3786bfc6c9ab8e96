import type net from 'node:net'
import type { Socket } from 'node:net'
import type { MessagePort } from 'node:worker_threads'
import type { ListenAddress, ListenOptions } from '../contracts/executor.ts'
import { listen } from '../fronts/listen.ts'
import type { HandedOver } from './protocol.ts'

/** How connections come to the server of a thread, and how many it has: counted where the main thread reads it. */
export class ThreadConnections {
  readonly #server: net.Server
  readonly #listen: ListenOptions | null
  readonly #counters: Float64Array
  /** What accepts connections for the server: itself, and listening sockets of threads that are gone. */
  readonly #listeners: net.Server[] = []

  /**
   * @param listen `null`: whoever hands a connection to this thread counts it.
   * @param counters of the thread's slot: connections that have come, that have gone, and listening sockets.
   */
  constructor(server: net.Server, listen: ListenOptions | null, counters: Float64Array) {
    this.#server = server
    this.#listen = listen
    this.#counters = counters
    server.on('connection', (socket: Socket) => {
      if (listen !== null) this.#add(0)
      socket.once('close', () => this.#add(1))
    })
  }

  /** How many are open. */
  readonly open = (): number => (this.#counters[0] ?? 0) - (this.#counters[1] ?? 0)

  get listeners(): readonly net.Server[] {
    return this.#listeners
  }

  /** The server listens by itself, sharing the port with other threads. */
  async listen(): Promise<ListenAddress> {
    const address = await listen(this.#server, this.#listen as ListenOptions, true)
    this.#addListener(this.#server)
    return address
  }

  /** Hands `count` listening sockets to another thread, those that came from others first. */
  handOver(count: number, to: MessagePort): void {
    for (const listener of this.#listeners.splice(-count)) {
      to.postMessage(listener satisfies HandedOver, [listener as never])
    }
    this.#counters[2] = this.#listeners.length
    to.close()
  }

  /** Takes over what {@link handOver} of another thread sends. */
  adopt(from: MessagePort): void {
    from.on('message', (listener: HandedOver) => {
      listener.maxConnections = this.#server.maxConnections
      listener.on('connection', (socket) => this.#server.emit('connection', socket))
      this.#addListener(listener)
    })
    // The thread that it was to come from has died.
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
