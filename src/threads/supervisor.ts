import net from 'node:net'
import type { Job, ListenAddress, ListenOptions, Running, ThreadChange, ThreadStats } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import type { ThreadSettings } from '../executors/worker-threads.ts'
import { listen as openServer } from '../fronts/listen.ts'
import { describeError } from '../model/errors.ts'
import { catchRejection, warnAbout } from '../runtime/callbacks.ts'
import { LONGEST_MS } from '../runtime/clock.ts'
import { assertCloneable } from '../runtime/cloneable.ts'
import { SharedStateMemory } from '../runtime/state-memory.ts'
import { CrashGuard } from './crash-guard.ts'
import { Thread, type ThreadOwner } from './handle.ts'
import { countersName, type FromThread, slotName, type ThreadStart } from './protocol.ts'
import { Scaler } from './scaler.ts'
import { chooseSpread, handsListenersOver } from './spread.ts'

/** {@link Running} threads. */
export interface RunningThreads extends Running, AsyncDisposable {}

/** Room for so many backends of an entry module, whose options are not known here; docs/threads.md says it. */
const ENTRY_BACKENDS = 10_000

/** How often utilization is measured and threads report what is not in shared memory, ms. */
const REPORT_MS = 500

/** Lines for standard output that wait to be read, bytes; what comes on top is dropped and counted. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024

/** Starts the threads of a job. Rejects where one of them cannot serve. */
export async function startThreads(job: Job, settings: ThreadSettings): Promise<RunningThreads> {
  if (settings.entry === null && job.options === undefined) {
    throw new TypeError(
      'workerThreads: nothing to serve; give it to createProxy({ executor }), or name an entry module',
    )
  }
  if (job.listen.fallback !== undefined) {
    throw new Error('a fallback server belongs to this thread; with threads, each makes its own: name an entry module')
  }
  if (job.listen.path !== undefined) {
    throw new Error('threads cannot share a unix socket; listen on a port, or use one thread')
  }
  assertCloneable('listen.tls', job.listen.tls)
  const spread = await chooseSpread(settings.spread)
  const group = new ThreadGroup(job, settings)
  try {
    if (spread === 'kernel') await group.listenInThreads(job.listen)
    else await group.listenHere(job.listen)
    await group.fill()
  } catch (error) {
    await group.close()
    throw error
  }
  return group
}

/** The threads that serve one job: their number, their replacements, and what they tell. */
class ThreadGroup implements RunningThreads, ThreadOwner {
  readonly #job: Job
  readonly #settings: ThreadSettings
  readonly #buffer: SharedArrayBuffer
  readonly #memory: SharedStateMemory
  readonly #threads = new Set<Thread>()
  readonly #freeSlots: number[]
  readonly #scaler: Scaler
  readonly #guard: CrashGuard
  /** What threads that begin later must make up for, by what it is about. */
  readonly #changes: Map<string, unknown>
  #heard: readonly string[] = []
  #address: ListenAddress | null = null
  #acceptor: net.Server | null = null
  /** Threads that go leave their listening sockets to others. */
  #handsOver = false
  /** The first ones serve. */
  #hasBegun = false
  /** So many are to serve; what dies is replaced. */
  #wanted: number
  #lastThread = 0
  #lastChange = 0
  /** Lines for standard output that nobody read, since the last that somebody did. */
  #dropped = 0
  #isClosing = false
  #closing: Promise<void> | null = null
  #working: Promise<unknown> = Promise.resolve()
  #cancelTick: () => void
  /** Keeps the process alive, as a server that listens does, also while no thread lives and one is to be started. */
  #hold: NodeJS.Timeout | null = null
  readonly #cancelReplacements = new Set<() => void>()

  constructor(job: Job, settings: ThreadSettings) {
    this.#job = job
    this.#settings = settings
    const slots = settings.max + 1
    this.#buffer = job.memory ?? SharedStateMemory.allocate(slots + 1, ENTRY_BACKENDS)
    this.#memory = new SharedStateMemory(this.#buffer, 0)
    this.#freeSlots = Array.from({ length: slots }, (_, index) => slots - index)
    // Before threads ask for them: later there may be no room, and only this thread takes places; see SharedStateMemory.release().
    for (const slot of this.#freeSlots) {
      for (const name of [slotName(slot), countersName(slot, 0)]) this.#memory.counters(name)
    }
    this.#wanted = settings.min
    this.#changes = new Map(job.changes)
    this.#scaler = new Scaler(settings, settings.scale)
    this.#guard = new CrashGuard(settings.maxCrashes)
    this.#cancelTick = settings.clock.schedule(REPORT_MS, this.#tick)
  }

  get address(): ListenAddress {
    return this.#address as ListenAddress
  }

  /** Each thread listens. The first one finds the port where any will do. */
  async listenInThreads(listen: ListenOptions): Promise<void> {
    this.#handsOver = await handsListenersOver()
    // Threads share the port with whoever asks for it in the same way: another program of this user would go unseen.
    if (listen.port !== undefined && listen.port !== 0) await assertFree(listen)
    const first = this.#start('the first', this.#at(listen.port ?? 0))
    this.#address = await first.serving
  }

  /** This thread listens and hands connections on. */
  async listenHere(listen: ListenOptions): Promise<void> {
    const server = net.createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true }, (socket) =>
      this.#hand(socket),
    )
    this.#acceptor = server
    this.#address = await openServer(server, listen)
  }

  /** Starts the first ones. */
  async fill(): Promise<void> {
    const missing = this.#wanted - this.#threads.size
    await Promise.all(Array.from({ length: missing }, () => this.#start('one of the first').serving))
    this.#hasBegun = true
    while (this.#isMissing()) this.#start('one of the first has died')
  }

  threads(): readonly ThreadStats[] {
    return Array.from(this.#threads, (thread) => thread.stats())
  }

  async change(about: string, change: unknown): Promise<void> {
    assertCloneable(`the change of ${about}`, change)
    const number = ++this.#lastChange
    const before = this.#changes.get(about)
    // Behind the others: the order is that of the calls.
    this.#changes.delete(about)
    this.#changes.set(about, change)
    const faults = await Promise.all(Array.from(this.#threads, (thread) => thread.change(number, change)))
    const fault = faults.find((one) => one !== null) ?? null
    if (fault === null) return
    // Threads that begin later could not make it either, and would not serve.
    if (this.#changes.get(about) === change) this.#changes.delete(about)
    if (before !== undefined && !this.#changes.has(about)) this.#changes.set(about, before)
    throw new Error(`a thread could not make the change: ${fault}`)
  }

  hear(events: readonly string[]): void {
    this.#heard = events
    for (const thread of this.#threads) thread.hear(events)
  }

  reload(): Promise<void> {
    return this.#oneByOne(async () => {
      for (const old of this.#alive()) {
        if (this.#isClosing) return
        // What it runs may be what was there before.
        if (old.state === 'starting') await old.serving.catch(ignore)
        if (old.state !== 'serving') continue
        const successor = this.#start(`replaces thread ${old.id}`, this.#where(), this.#handsOver)
        await successor.serving
        await this.#retire(old, `replaced by thread ${successor.id}`, successor)
        // While there was one more, one that died was not missing.
        this.#startMissing('one has died')
      }
      // Those that were given up.
      while (!this.#isClosing && this.#isMissing()) await this.#start('reload').serving
      this.#guard.forget()
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.#isClosing = true
    this.#letGo()
    this.#cancelTick()
    for (const cancel of this.#cancelReplacements) cancel()
    const acceptor = this.#acceptor
    if (acceptor?.listening === true) await new Promise((resolve) => acceptor.close(resolve))
    await Promise.all(Array.from(this.#threads, (thread) => this.#retire(thread, 'closing')))
  }

  // What threads say:

  onServing(thread: Thread): void {
    this.#tell(thread, 'started', this.#reasons.get(thread) ?? '')
  }

  onBatch(thread: Thread, { logs, lines, events }: FromThread & { type: 'batch' }): void {
    const { observer } = this.#job
    for (const { level, fields, message } of logs) this.#log(level, { ...fields, thread: thread.id }, message)
    if (lines.length > 0) {
      if (observer?.onLines !== undefined) this.#inform(() => observer.onLines?.(lines))
      else this.#print(lines)
    }
    for (const { event, args } of events) this.#inform(() => observer?.onEvent?.(thread.id, event, args))
  }

  onEnded(thread: Thread): void {
    const stats = thread.stats()
    this.#threads.delete(thread)
    this.#freeSlots.push(thread.slot)
    thread.clearCounters()
    const reason = this.#reasons.get(thread) ?? ''
    this.#reasons.delete(thread)
    if (thread.fault === null) return this.#tell(thread, 'ended', reason, stats)
    const message = describeError(thread.fault)
    // What was under way is lost, and nobody is left to tell of each exchange.
    const fields = { thread: thread.id, code: thread.fault?.code, active: stats.active, err: thread.fault }
    this.#log('error', fields, `thread ${thread.id} died: ${message}`)
    this.#tell(thread, 'died', message, stats)
    // Before all of the first serve there is somebody who waits and is told.
    if (!this.#isClosing && this.#hasBegun && this.#isMissing()) this.#replace(thread)
  }

  /** Why each thread began or ends, in words. */
  readonly #reasons = new Map<Thread, string>()

  #replace(dead: Thread): void {
    const { clock, maxCrashes } = this.#settings
    const now = clock.now()
    const waitMs = this.#guard.onDeath(now, now - dead.servingSince)
    if (waitMs < 0) {
      const error = new Error(
        `${maxCrashes} threads died one after another and are not replaced any more; the last: ${describeError(dead.fault)}`,
      )
      this.#log('error', { serving: this.#serving().length }, error.message)
      this.#tellFailed(error)
      return
    }
    const cancel = clock.schedule(waitMs, () => {
      this.#cancelReplacements.delete(cancel)
      this.#startMissing(`replaces thread ${dead.id}, which died`)
    })
    this.#cancelReplacements.add(cancel)
  }

  #startMissing(reason: string): void {
    if (!this.#isClosing && this.#isMissing()) this.#start(reason)
  }

  #tellFailed(error: Error): void {
    const { observer } = this.#job
    const isHeard = observer?.onFailed !== undefined
    if (isHeard) this.#inform(() => observer.onFailed?.(error))
    if (this.#alive().length > 0) return
    this.#letGo()
    if (isHeard) return
    // A process without threads would end as if all were well.
    process.emitWarning(error)
    process.exitCode ??= 1
  }

  /** What a callback of the application throws must not stop us. */
  #inform(tell: () => unknown): void {
    const threw = (error: unknown): void =>
      this.#log('error', { err: error }, `an observer of the threads threw: ${describeError(error)}`)
    try {
      catchRejection(tell(), threw)
    } catch (error) {
      threw(error)
    }
  }

  /** Standard output that nobody reads must not fill the memory. */
  #print(lines: readonly string[]): void {
    if (process.stdout.writableLength > MAX_WAITING_BYTES) {
      this.#dropped += lines.length
      return
    }
    const dropped = this.#dropped
    this.#dropped = 0
    process.stdout.write(`${lines.join('\n')}\n`)
    if (dropped > 0) this.#log('warn', { dropped }, `${dropped} access log lines were lost: nobody read them`)
  }

  /** The entry form has the application's own logger. */
  #log(level: keyof Logger, fields: object, message: string): void {
    try {
      catchRejection(this.#job.logger?.[level](fields, message), warnAbout('the logger'))
    } catch (error) {
      warnAbout('the logger')(error)
    }
  }

  #letGo(): void {
    if (this.#hold !== null) clearInterval(this.#hold)
    this.#hold = null
  }

  /** @param inherits it is given a listening socket when it serves. */
  #start(reason: string, listen = this.#where(), inherits = false): Thread {
    const slot = this.#freeSlots.pop()
    if (slot === undefined) throw new Error('no place for another thread')
    this.#hold ??= setInterval(() => {}, LONGEST_MS)
    const { entry, drainTimeoutMs } = this.#settings
    const start: ThreadStart = {
      thread: ++this.#lastThread,
      slot,
      memory: this.#buffer,
      job: entry === null ? { options: this.#job.options } : { entry },
      listen,
      inherits,
      tls: this.#job.listen.tls ?? null,
      heard: this.#heard,
      changes: Array.from(this.#changes.values()),
      reportMs: REPORT_MS,
      drainTimeoutMs,
    }
    const thread = new Thread(start, this.#memory, this.#settings, this)
    this.#reasons.set(thread, reason)
    this.#threads.add(thread)
    return thread
  }

  #where(): ListenOptions | null {
    if (this.#acceptor !== null) return null
    return this.#at(this.address.port)
  }

  #at(port: number): ListenOptions {
    const { host, backlog } = this.#job.listen
    return { port, ...(host !== undefined && { host }), ...(backlog !== undefined && { backlog }) }
  }

  async #retire(thread: Thread, reason: string, heir?: Thread): Promise<void> {
    // By close(): it may listen no more, and has been told of.
    if (thread.wasTold) return thread.ended
    if (heir !== undefined && this.#handsOver) thread.give(Number.POSITIVE_INFINITY, heir)
    if (thread.state === 'ended') return
    this.#reasons.set(thread, reason)
    const ended = thread.retire()
    this.#tell(thread, 'retiring', reason)
    await ended
  }

  /** To the thread with the fewest connections. */
  #hand(socket: net.Socket): void {
    let least: Thread | null = null
    for (const thread of this.#threads) {
      if (thread.state === 'serving' && (least === null || thread.connections < least.connections)) least = thread
    }
    if (least === null) {
      this.#log('error', { client: socket.remoteAddress }, 'no thread serves: a connection is refused')
      socket.destroy()
      return
    }
    try {
      least.take(socket)
    } catch (error) {
      // The client went away between its connection and now.
      this.#log('debug', { err: error }, `a connection could not be handed to a thread: ${describeError(error)}`)
      socket.destroy()
    }
  }

  readonly #tick = (): void => {
    const serving = this.#serving()
    for (const thread of serving) thread.measure()
    const step = this.#scaler.decide(
      this.#settings.clock.now(),
      serving.map((thread) => thread.utilization),
    )
    if (step !== 0) {
      this.#oneByOne(() => this.#scale(step)).catch((error: unknown) => {
        this.#log('error', { err: error }, `the number of threads stays: ${describeError(error)}`)
      })
    }
    this.#cancelTick = this.#settings.clock.schedule(REPORT_MS, this.#tick)
  }

  async #scale(step: number): Promise<void> {
    const serving = this.#serving()
    const mean = serving.reduce((sum, thread) => sum + thread.utilization, 0) / serving.length
    const reason = `event loops are busy for ${Math.round(mean * 100)} % of the time`
    if (this.#isClosing) return
    if (step > 0) {
      if (this.#wanted >= this.#settings.max) return
      // One that has inherited would get more than its share of the connections.
      const rich = serving.find(({ listeners }) => listeners > 1)
      const added = this.#start(reason, this.#where(), rich !== undefined)
      await added.serving
      rich?.give(1, added)
      this.#wanted++
      // While there was one more, one that died was not missing.
      this.#startMissing('one has died')
    } else if (serving.length > this.#settings.min) {
      const [fewest, ...others] = serving.toSorted((a, b) => a.connections - b.connections) as [Thread, ...Thread[]]
      const heir = others.reduce((poor, thread) => (thread.listeners < poor.listeners ? thread : poor))
      this.#wanted--
      await this.#retire(fewest, reason, heir)
    }
  }

  /** Reloading and scaling change the number of threads, and wait for each other. */
  #oneByOne(work: () => Promise<void>): Promise<void> {
    const done = this.#working.then(work)
    this.#working = done.catch(() => {})
    return done
  }

  #serving(): Thread[] {
    return Array.from(this.#threads).filter((thread) => thread.state === 'serving')
  }

  /** Starting and serving ones. */
  #alive(): Thread[] {
    return Array.from(this.#threads).filter(({ state }) => state === 'starting' || state === 'serving')
  }

  #isMissing(): boolean {
    return this.#alive().length < this.#wanted
  }

  #tell(thread: Thread, what: ThreadChange['what'], reason: string, stats = thread.stats()): void {
    const serving = this.#serving().length
    if (what !== 'died') this.#log('info', { thread: thread.id, serving }, `thread ${thread.id} ${what}: ${reason}`)
    this.#inform(() => this.#job.observer?.onThread?.({ thread: thread.id, what, reason, serving, stats }))
  }
}

function ignore(): void {}

async function assertFree(listen: ListenOptions): Promise<void> {
  const server = net.createServer()
  await openServer(server, listen)
  await new Promise((resolve) => server.close(resolve))
}
