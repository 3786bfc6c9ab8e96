import type { Socket } from 'node:net'
import { MessageChannel, Worker } from 'node:worker_threads'
import type { ListenAddress, ThreadPool, ThreadStats } from '../contracts/executor.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { SharedStateMemory } from '../runtime/state-memory.ts'
import type { ForwardedEvent } from './bridge.ts'
import type { Batch, FromThread, ThreadStart, ThreadsChange, ToThread } from './protocol.ts'
import type { ThreadSettings } from './settings.ts'
import { ThreadCounters } from './thread-counters.ts'

/** How much longer than `drainTimeoutMs` a thread may take to end before it is terminated, ms. */
const TERMINATE_MARGIN_MS = 1000

/** Settings for the start and the end of a thread. */
export interface LifeSettings extends Pick<ThreadSettings, 'clock' | 'startTimeoutMs' | 'resourceLimits'> {
  /** What each thread runs. */
  readonly workerModule: URL
}

/** Callbacks of a {@link Thread}. */
export interface ThreadOwner {
  onServing(thread: Thread): void
  onBatch(thread: Thread, batch: Batch): void
  /** It has ended. {@link Thread.fault} is set if nobody asked it to. */
  onEnded(thread: Thread): void
}

/** A thread, seen from the main thread. */
export class Thread {
  readonly id: number
  readonly slot: number
  state: ThreadStats['state'] | 'ended' = 'starting'
  /** Why it was started, or why it ends, for messages. */
  reason: string
  /** When it began to serve, on the clock's scale. */
  servingSince = Number.POSITIVE_INFINITY
  /** It was asked to end. */
  wasRetired = false
  /** Why it ended, unless it was asked to. */
  fault: NodeJS.ErrnoException | null = null
  readonly counters: ThreadCounters
  /** Resolves when it serves, with its address (`null`: it gets connections by message); rejects if it cannot. */
  readonly serving: Promise<ListenAddress | null>
  /** Resolves when it has ended. */
  readonly ended: Promise<void>
  /** {@link #terminate} was called. */
  #wasTerminated = false
  readonly #worker: Worker
  readonly #settings: LifeSettings
  readonly #drainTimeoutMs: number
  readonly #owner: ThreadOwner
  readonly #acknowledged = new Map<number, (fault: string | null) => void>()
  #onServing!: (address: ListenAddress | null) => void
  #cancelStart: () => void
  #pools: readonly ThreadPool[] = []
  #loop: ReturnType<Worker['performance']['eventLoopUtilization']>
  #utilization = 0

  constructor(
    start: ThreadStart,
    reason: string,
    namespace: string,
    memory: SharedStateMemory,
    settings: LifeSettings,
    owner: ThreadOwner,
  ) {
    this.id = start.thread
    this.slot = start.slot
    this.reason = reason
    this.#settings = settings
    this.#drainTimeoutMs = start.drainTimeoutMs
    this.#owner = owner
    this.counters = new ThreadCounters(memory, start.slot, namespace)
    this.#worker = new Worker(settings.workerModule, {
      name: `heddle ${start.thread}`,
      workerData: { heddle: start },
      resourceLimits: settings.resourceLimits,
      // Node refuses this flag for a worker that runs a file.
      ...(process.execArgv.some((arg) => arg.startsWith('--input-type')) && { execArgv: [] }),
    })
    this.#loop = this.#worker.performance.eventLoopUtilization()
    const { startTimeoutMs, clock } = settings
    this.#cancelStart = clock.schedule(startTimeoutMs, () => {
      this.fault ??= new Error(`it was not ready to serve within ${startTimeoutMs} ms (startTimeoutMs)`)
      this.#terminate()
    })
    let onFailed!: (error: Error) => void
    this.serving = new Promise((resolve, reject) => {
      this.#onServing = resolve
      onFailed = reject
    })
    // A caller that waits gets the error. Otherwise onEnded() reports it.
    this.serving.catch(() => {})
    this.ended = new Promise((resolve) => {
      this.#worker
        .on('message', (message: FromThread) => this.#onMessage(message))
        .on('error', (error: NodeJS.ErrnoException) => {
          this.fault ??= error
        })
        .on('exit', (code) => {
          this.#cancelStart()
          const isExpected = this.#wasTerminated || (this.wasRetired && code === 0)
          if (!isExpected) this.fault ??= new Error(`it ended with code ${code}${this.#hintOf(code)}`)
          this.state = 'ended'
          for (const acknowledge of this.#acknowledged.values()) acknowledge(null)
          this.#acknowledged.clear()
          // Has no effect once it has served.
          onFailed(this.#startError())
          memory.takeBack(this.slot)
          owner.onEnded(this)
          resolve()
        })
    })
  }

  get utilization(): number {
    return this.#utilization
  }

  /** Measures {@link utilization} since the last call. */
  measure(): void {
    const now = this.#worker.performance.eventLoopUtilization()
    this.#utilization = this.#worker.performance.eventLoopUtilization(now, this.#loop).utilization
    this.#loop = now
  }

  stats(): ThreadStats {
    const { exchanges, active } = this.counters.exchanges()
    return {
      thread: this.id,
      state: this.state === 'ended' ? 'retiring' : this.state,
      exchanges,
      active,
      connections: this.counters.connections,
      utilization: this.#utilization,
      pools: this.#pools,
    }
  }

  /** Sends a change. Resolves with the fault, or `null` on success; also with `null` if the thread ends. */
  change(number: number, change: ThreadsChange): Promise<string | null> {
    if (this.state === 'ended') return Promise.resolve(null)
    return new Promise((resolve) => {
      this.#acknowledged.set(number, resolve)
      this.#post({ type: 'change', number, change })
    })
  }

  subscribe(events: readonly ForwardedEvent[]): void {
    this.#post({ type: 'subscribe', events })
  }

  /** Hands a client's connection to the thread. */
  take(socket: Socket): void {
    this.#worker.postMessage({ type: 'socket', socket } satisfies ToThread, [socket as never])
    this.counters.addConnection()
  }

  /** Hands `count` of its listening sockets to another thread. Connections in their queues are kept. */
  handOverListeners(count: number, successor: Thread): void {
    const { port1, port2 } = new MessageChannel()
    // The successor notices the closed port and listens itself.
    if (this.state === 'ended') port1.close()
    else this.#worker.postMessage({ type: 'handOverListeners', count, to: port1 } satisfies ToThread, [port1])
    successor.#worker.postMessage({ type: 'adoptListeners', from: port2 } satisfies ToThread, [port2])
  }

  /** Lets the thread finish its exchanges, and end. */
  async retire(): Promise<void> {
    if (this.state === 'ended') return
    if (!this.wasRetired) {
      this.wasRetired = true
      this.state = 'retiring'
      this.#post({ type: 'retire' })
      const cancel = this.#settings.clock.schedule(this.#drainTimeoutMs + TERMINATE_MARGIN_MS, () => this.#terminate())
      void this.ended.then(cancel)
    }
    await this.ended
  }

  #onMessage(message: FromThread): void {
    switch (message.type) {
      case 'serving':
        this.#cancelStart()
        this.counters.proxies = message.proxies
        this.#onServing(message.address)
        if (this.state !== 'starting') break
        this.state = 'serving'
        this.servingSince = this.#settings.clock.now()
        this.#owner.onServing(this)
        break
      case 'failed':
        this.fault ??= errorOf(message.message, message.code, message.stack)
        break
      case 'changed':
        this.#acknowledge(message.number, message.fault)
        break
      case 'batch':
        this.#owner.onBatch(this, message)
        break
      case 'report':
        this.counters.proxies = message.proxies
        this.#pools = message.pools
        break
      case 'retired':
        this.#terminate()
    }
  }

  #acknowledge(number: number, fault: string | null): void {
    const acknowledge = this.#acknowledged.get(number)
    this.#acknowledged.delete(number)
    acknowledge?.(fault)
  }

  #startError(): Error {
    const { fault } = this
    const why = fault === null ? 'it was asked to end' : describeError(fault)
    const code = fault?.code
    return Object.assign(new Error(`thread ${this.id} could not start: ${why}`, { cause: fault }), code && { code })
  }

  /** Explains an exit code; for 13, see "Exit codes" in node's documentation. */
  #hintOf(code: number): string {
    if (code === 13) return ': a top-level await of its module never settles'
    const isSilent = code === 0 && this.state === 'starting'
    return isSilent ? `: ${this.#settings.workerModule} does not import 'heddle/worker'` : ''
  }

  #terminate(): void {
    this.#wasTerminated = true
    void this.#worker.terminate()
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message)
  }
}

/** Restores an error of another thread. */
function errorOf(message: string, code: string | undefined, stack: string | undefined): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(message)
  if (code !== undefined) error.code = code
  if (stack !== undefined) error.stack = stack
  return error
}
