import type { Socket } from 'node:net'
import { MessageChannel, Worker } from 'node:worker_threads'
import type { ListenAddress, ThreadStats } from '../contracts/executor.ts'
import type { ThreadSettings } from '../executors/worker-threads.ts'
import { describeError } from '../model/errors.ts'
import type { SharedStateMemory } from '../runtime/state-memory.ts'
import { countersName, type FromThread, slotName, type ThreadStart, type ToThread } from './protocol.ts'

/** The module that every thread runs; the only thing of the composition root that is named here. */
const THREAD_MODULE = new URL('../worker.js', import.meta.url)

/** How much longer than `drainTimeoutMs` a thread may take to end before it is terminated, ms. */
const TERMINATE_MARGIN_MS = 1000

/** Told what a {@link Thread} does. */
export interface ThreadOwner {
  onServing(thread: Thread): void
  onBatch(thread: Thread, batch: FromThread & { type: 'batch' }): void
  /** It is gone; `error`: of itself. */
  onEnded(thread: Thread): void
}

/** One thread, seen from the one that started it. */
export class Thread {
  readonly id: number
  readonly slot: number
  state: ThreadStats['state'] | 'ended' = 'starting'
  /** When it began to serve, on the clock's scale. */
  servingSince = Number.POSITIVE_INFINITY
  /** It was told to end. */
  wasTold = false
  /** It has nothing left, or was given up. */
  #isOver = false
  /** Why it ended, where nobody told it to. */
  fault: NodeJS.ErrnoException | null = null
  readonly #worker: Worker
  readonly #memory: SharedStateMemory
  readonly #settings: ThreadSettings
  readonly #connections: Float64Array
  readonly #acknowledged = new Map<number, (fault: string | null) => void>()
  readonly #serving: Promise<ListenAddress | null>
  readonly #ended: Promise<void>
  #proxies = 1
  #pools: readonly unknown[] = []
  #loop: ReturnType<Worker['performance']['eventLoopUtilization']>
  #utilization = 0

  constructor(start: ThreadStart, memory: SharedStateMemory, settings: ThreadSettings, owner: ThreadOwner) {
    this.id = start.thread
    this.slot = start.slot
    this.#memory = memory
    this.#settings = settings
    this.#connections = memory.counters(slotName(start.slot))
    this.#connections.fill(0)
    this.#worker = new Worker(THREAD_MODULE, {
      name: `heddle ${start.thread}`,
      workerData: { heddle: start },
      resourceLimits: settings.resourceLimits,
      // What is evaluated is not our module, and node refuses the flag for a file.
      ...(process.execArgv.some((arg) => arg.startsWith('--input-type')) && { execArgv: [] }),
    })
    this.#loop = this.#worker.performance.eventLoopUtilization()
    let onServing!: (address: ListenAddress | null) => void
    let onFailed!: (error: Error) => void
    this.#serving = new Promise((resolve, reject) => {
      onServing = resolve
      onFailed = reject
    })
    // Who waits for it is told; where nobody does, the owner is.
    this.#serving.catch(() => {})
    const { startTimeoutMs, clock } = settings
    const cancelStart = clock.schedule(startTimeoutMs, () => {
      this.fault ??= new Error(`it did not serve within ${startTimeoutMs} ms (startTimeoutMs)`)
      this.#terminate()
    })
    this.#ended = new Promise((resolve) => {
      this.#worker
        .on('message', (message: FromThread) => {
          switch (message.type) {
            case 'serving':
              cancelStart()
              this.#proxies = message.proxies
              onServing(message.address)
              if (this.state !== 'starting') break
              this.state = 'serving'
              this.servingSince = clock.now()
              owner.onServing(this)
              break
            case 'failed':
              this.fault ??= errorOf(message.message, message.code, message.stack)
              break
            case 'changed':
              this.#acknowledge(message.number, message.fault)
              break
            case 'batch':
              owner.onBatch(this, message)
              break
            case 'report':
              this.#proxies = message.proxies
              this.#pools = message.pools
              break
            case 'retired':
              this.#terminate()
          }
        })
        .on('error', (error: NodeJS.ErrnoException) => {
          this.fault ??= error
        })
        .on('exit', (code) => {
          cancelStart()
          const isGood = this.#isOver || (this.wasTold && code === 0)
          if (!isGood) this.fault ??= new Error(`it ended with code ${code}${hintOf(code)}`)
          this.state = 'ended'
          for (const acknowledge of this.#acknowledged.values()) acknowledge(null)
          this.#acknowledged.clear()
          // Nobody hears it where it has served.
          onFailed(this.#startError())
          memory.takeBack(this.slot)
          owner.onEnded(this)
          resolve()
        })
    })
  }

  /** Resolves when it serves, with where it listens (`null`: it does not by itself); rejects where it cannot. */
  get serving(): Promise<ListenAddress | null> {
    return this.#serving
  }

  /** Resolves when it is gone. */
  get ended(): Promise<void> {
    return this.#ended
  }

  /** Client connections that are open. */
  get connections(): number {
    return (this.#connections[0] ?? 0) - (this.#connections[1] ?? 0)
  }

  /** Sockets that it listens on. */
  get listeners(): number {
    return this.#connections[2] ?? 0
  }

  get utilization(): number {
    return this.#utilization
  }

  /** Measures the time since the last call. */
  measure(): void {
    const now = this.#worker.performance.eventLoopUtilization()
    this.#utilization = this.#worker.performance.eventLoopUtilization(now, this.#loop).utilization
    this.#loop = now
  }

  stats(): ThreadStats {
    const [exchanges, active] = this.#counters()
    const state = this.state === 'ended' ? 'retiring' : this.state
    return {
      thread: this.id,
      state,
      exchanges,
      active,
      connections: this.connections,
      utilization: this.#utilization,
      pools: this.#pools,
    }
  }

  /** For the next thread in its place. */
  clearCounters(): void {
    for (let proxy = 0; proxy < this.#proxies; proxy++) this.#countersOf(proxy).fill(0)
  }

  /** Resolves with what went wrong, or `null`; also when the thread ends. */
  change(number: number, change: unknown): Promise<string | null> {
    if (this.state === 'ended') return Promise.resolve(null)
    return new Promise((resolve) => {
      this.#acknowledged.set(number, resolve)
      this.#post({ type: 'change', number, change })
    })
  }

  hear(events: readonly string[]): void {
    this.#post({ type: 'hear', events })
  }

  /** Hands it a client's connection. */
  take(socket: Socket): void {
    this.#worker.postMessage({ type: 'socket', socket } satisfies ToThread, [socket as never])
    this.#connections[0] = (this.#connections[0] ?? 0) + 1
  }

  /** Hands `count` of its listening sockets to another thread. The kernel keeps what waits in their queues. */
  give(count: number, heir: Thread): void {
    const { port1, port2 } = new MessageChannel()
    // The heir then finds that nothing comes.
    if (this.state === 'ended') port1.close()
    else this.#worker.postMessage({ type: 'give', count, to: port1 } satisfies ToThread, [port1])
    heir.#worker.postMessage({ type: 'inherit', from: port2 } satisfies ToThread, [port2])
  }

  /** Lets it finish what it has, and end. */
  async retire(): Promise<void> {
    if (this.state === 'ended') return
    if (!this.wasTold) {
      this.wasTold = true
      this.state = 'retiring'
      this.#post({ type: 'retire' })
      const { clock, drainTimeoutMs } = this.#settings
      const cancel = clock.schedule(drainTimeoutMs + TERMINATE_MARGIN_MS, () => this.#terminate())
      void this.#ended.then(cancel)
    }
    await this.#ended
  }

  #startError(): Error {
    const { fault } = this
    const why = fault === null ? 'it was told to end' : describeError(fault)
    const code = fault?.code
    return Object.assign(new Error(`thread ${this.id} could not start: ${why}`, { cause: fault }), code && { code })
  }

  #terminate(): void {
    this.#isOver = true
    void this.#worker.terminate()
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message)
  }

  #acknowledge(number: number, fault: string | null): void {
    const acknowledge = this.#acknowledged.get(number)
    this.#acknowledged.delete(number)
    acknowledge?.(fault)
  }

  #counters(): [exchanges: number, active: number] {
    let exchanges = 0
    let active = 0
    for (let proxy = 0; proxy < this.#proxies; proxy++) {
      const counters = this.#countersOf(proxy)
      exchanges += counters[0] ?? 0
      active += counters[1] ?? 0
    }
    return [exchanges, active]
  }

  #countersOf(proxy: number): Float64Array {
    return this.#memory.counters(countersName(this.slot, proxy))
  }
}

/** What node's exit codes say (process.exit codes in its documentation). */
function hintOf(code: number): string {
  return code === 13 ? ': a top-level await of its module waits for what nothing will bring' : ''
}

/** An error of another thread. */
function errorOf(message: string, code: string | undefined, stack: string | undefined): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(message)
  if (code !== undefined) error.code = code
  if (stack !== undefined) error.stack = stack
  return error
}
