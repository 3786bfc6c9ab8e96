import net from 'node:net'
import type { CheckedListenOptions, ListenAddress, ThreadStats } from '../contracts/executor.ts'
import { listen as listenOn } from '../fronts/listen.ts'
import { LONGEST_MS } from '../runtime/clock.ts'
import { assertCloneable } from '../runtime/cloneable.ts'
import { describeError } from '../runtime/describe-error.ts'
import { Acceptor } from './acceptor.ts'
import type { ForwardedEvent } from './bridge.ts'
import { ChangeHistory } from './change-history.ts'
import type { Thread, ThreadOwner } from './handle.ts'
import { LoadWatch } from './load-watch.ts'
import { type Batch, type ServingThreads, subjectOf, type ThreadsChange } from './protocol.ts'
import { Replacements, type ReplacementsOwner } from './replacements.ts'
import { ThreadReports } from './reports.ts'
import type { ThreadSettings } from './settings.ts'
import { canHandOverListeners, chooseSpread } from './spread.ts'
import { type SupervisedJob, ThreadSet } from './thread-set.ts'
import { workerModule } from './worker-module.ts'

/** Starts the threads of a job. Rejects if one of them cannot start. */
export async function startThreads(job: SupervisedJob, settings: ThreadSettings): Promise<ServingThreads> {
  if (job.listen.fallback !== undefined) {
    throw new Error(
      'a fallback server belongs to this thread; with threads, each thread needs its own: use a module with serveModule()',
    )
  }
  if (job.listen.path !== undefined) {
    throw new Error('threads cannot share a unix socket; listen on a port, or use one thread')
  }
  assertCloneable('listen.tls', job.listen.tls)
  const module = workerModule(settings.module)
  const spread = await chooseSpread(settings.spread)
  const supervisor = new Supervisor(job, settings, module)
  try {
    if (spread === 'kernel') await supervisor.listenInThreads()
    else await supervisor.listenHere()
    await supervisor.fill()
  } catch (error) {
    await supervisor.close()
    throw error
  }
  return supervisor
}

/** Starts, replaces, scales and ends the threads of a job. */
class Supervisor implements ServingThreads, ThreadOwner, ReplacementsOwner {
  readonly #listen: CheckedListenOptions
  readonly #settings: ThreadSettings
  readonly #reports: ThreadReports
  readonly #threads: ThreadSet
  readonly #load: LoadWatch
  readonly #replacements: Replacements
  readonly #changes: ChangeHistory
  #subscriptions: readonly ForwardedEvent[] = []
  #address: ListenAddress | null = null
  #acceptor: Acceptor | null = null
  /** Retiring threads hand their listening sockets to others. */
  #handsOver = false
  /** The initial threads serve. */
  #hasBegun = false
  /** Number of threads that should serve. Threads that die are replaced. */
  #wanted: number
  #lastChange = 0
  #isClosing = false
  #closing: Promise<void> | null = null
  /** The last reload or scaling. */
  #lastTask: Promise<unknown> = Promise.resolve()
  /** Keeps the process alive like a listening server, even while a dead thread waits for its replacement. */
  #keepAlive: NodeJS.Timeout | null = null

  constructor(job: SupervisedJob, settings: ThreadSettings, workerModule: URL) {
    this.#listen = job.listen
    this.#settings = settings
    this.#reports = new ThreadReports(job.logger, job.observer)
    // One more than `max`: a replacement runs beside the thread that it replaces.
    this.#threads = new ThreadSet(job, { ...settings, workerModule }, this, settings.max + 1)
    this.#wanted = settings.min
    this.#changes = new ChangeHistory(job.changes)
    this.#replacements = new Replacements(settings, this)
    this.#load = new LoadWatch(this.#threads, settings, (step, reason) => {
      this.#serialize(() => this.#scale(step, reason)).catch((error: unknown) => {
        this.#reports.log('error', { err: error }, `cannot change the number of threads: ${describeError(error)}`)
      })
    })
  }

  get address(): ListenAddress {
    return this.#address as ListenAddress
  }

  /** Each thread listens. With port 0, the first one chooses the port. */
  async listenInThreads(): Promise<void> {
    const { port = 0 } = this.#listen
    this.#handsOver = await canHandOverListeners()
    // SO_REUSEPORT would share the port silently with another program of this user that also sets it.
    if (port !== 0) await assertFree(this.#listen)
    this.#address = await this.#start(`1 of ${this.#wanted}`, this.#listenOn(port)).serving
  }

  /** This thread listens and hands connections to the others. */
  async listenHere(): Promise<void> {
    this.#acceptor = new Acceptor(() => this.#threads.serving(), this.#reports)
    this.#address = await this.#acceptor.listen(this.#listen)
  }

  /** Starts the initial threads, or the rest of them. */
  async fill(): Promise<void> {
    const started: Promise<unknown>[] = []
    for (let count = this.#threads.all().length + 1; count <= this.#wanted; count++) {
      started.push(this.#start(`${count} of ${this.#wanted}`).serving)
    }
    await Promise.all(started)
    this.#hasBegun = true
    while (this.#isMissing()) this.#start('replaces an initial thread, which died')
  }

  threads(): readonly ThreadStats[] {
    return this.#threads.all().map((thread) => thread.stats())
  }

  async change(change: ThreadsChange): Promise<void> {
    assertCloneable(`the change of ${subjectOf(change)}`, change)
    const number = ++this.#lastChange
    const undo = this.#changes.add(change)
    const faults = await Promise.all(this.#threads.all().map((thread) => thread.change(number, change)))
    const fault = faults.find((each) => each !== null) ?? null
    if (fault === null) return
    undo()
    throw new Error(`a thread could not apply the change: ${fault}`)
  }

  subscribe(events: readonly ForwardedEvent[]): void {
    this.#subscriptions = events
    for (const thread of this.#threads.all()) thread.subscribe(events)
  }

  reload(): Promise<void> {
    return this.#serialize(async () => {
      for (const old of this.#threads.active()) {
        if (this.#isClosing) return
        // A starting thread may have loaded the old module, so it is replaced too.
        if (old.state === 'starting') await old.serving.catch(ignore)
        if (old.state !== 'serving') continue
        const successor = this.#start(`replaces thread ${old.id}`, this.#listenOptions(), this.#handsOver)
        await successor.serving
        await this.#retire(old, `replaced by thread ${successor.id}`, successor)
        // A thread that died while there was one more was not replaced.
        this.startMissing('replaces a thread, which died')
      }
      // Replaces the threads that were given up.
      while (!this.#isClosing && this.#isMissing()) await this.#start('reload').serving
      this.#replacements.reset()
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#isClosing = true
    this.#releaseProcess()
    this.#load.close()
    this.#replacements.close()
    await this.#acceptor?.close()
    await Promise.all(this.#threads.all().map((thread) => this.#retire(thread, 'shutdown')))
  }

  // Callbacks of threads:

  onServing(thread: Thread): void {
    this.#notify(thread, 'started')
  }

  onBatch(thread: Thread, batch: Batch): void {
    this.#reports.batch(thread.id, batch)
  }

  onEnded(thread: Thread): void {
    const stats = thread.stats()
    this.#threads.remove(thread)
    if (thread.fault === null) return this.#notify(thread, 'ended', stats)
    thread.reason = describeError(thread.fault)
    // Its exchanges in flight are lost, and the thread can no longer report them.
    const fields = { thread: thread.id, code: thread.fault.code, active: stats.active, err: thread.fault }
    this.#reports.log('error', fields, `thread ${thread.id} died: ${thread.reason}`)
    this.#notify(thread, 'died', stats)
    // Before all initial threads serve, startThreads() rejects with the error instead.
    if (!this.#isClosing && this.#hasBegun && this.#isMissing()) this.#replacements.replace(thread)
  }

  #notify(thread: Thread, what: Parameters<ThreadReports['changed']>[0], stats = thread.stats()): void {
    this.#reports.changed(what, thread.reason, this.#threads.serving().length, stats)
  }

  // Replacements:

  giveUp(error: Error): void {
    this.#reports.log('error', { serving: this.#threads.serving().length }, error.message)
    const isObserved = this.#reports.failed(error)
    if (this.#threads.active().length > 0) return
    this.#releaseProcess()
    if (isObserved) return
    // Without threads the process would end with exit code 0.
    process.emitWarning(error)
    process.exitCode ??= 1
  }

  startMissing(reason: string): void {
    if (!this.#isClosing && this.#isMissing()) this.#start(reason)
  }

  #isMissing(): boolean {
    return this.#threads.active().length < this.#wanted
  }

  #releaseProcess(): void {
    if (this.#keepAlive !== null) clearInterval(this.#keepAlive)
    this.#keepAlive = null
  }

  // One thread:

  /** @param adopts another thread hands it a listening socket when it serves. */
  #start(reason: string, listen = this.#listenOptions(), adopts = false): Thread {
    const options = { reason, listen, adopts, subscriptions: this.#subscriptions, changes: this.#changes }
    const thread = this.#threads.start(options)
    this.#keepAlive ??= setInterval(() => {}, LONGEST_MS)
    return thread
  }

  async #retire(thread: Thread, reason: string, successor?: Thread): Promise<void> {
    // close() has retired and reported it; it may not listen any more.
    if (thread.wasRetired) return thread.ended
    if (successor !== undefined && this.#handsOver) thread.handOverListeners(Number.POSITIVE_INFINITY, successor)
    if (thread.state === 'ended') return
    thread.reason = reason
    const ended = thread.retire()
    this.#notify(thread, 'retiring')
    await ended
  }

  #listenOptions(): CheckedListenOptions | null {
    return this.#acceptor === null ? this.#listenOn(this.address.port) : null
  }

  #listenOn(port: number): CheckedListenOptions {
    const { host, backlog } = this.#listen
    return { port, ...(host !== undefined && { host }), ...(backlog !== undefined && { backlog }) }
  }

  // The number of threads:

  async #scale(step: 1 | -1, reason: string): Promise<void> {
    const serving = this.#threads.serving()
    if (this.#isClosing) return
    if (step > 0) {
      if (this.#wanted >= this.#settings.max) return
      // A thread with several listening sockets gets more than its share of the connections, so it hands one over.
      const giver = serving.find(({ counters }) => counters.listeners > 1)
      const added = this.#start(reason, this.#listenOptions(), giver !== undefined)
      await added.serving
      giver?.handOverListeners(1, added)
      this.#wanted++
      // A thread that died while there was one more was not replaced.
      this.startMissing('replaces a thread, which died')
    } else if (serving.length > this.#settings.min) {
      const byConnections = serving.toSorted((a, b) => a.counters.connections - b.counters.connections)
      const [fewest, ...others] = byConnections as [Thread, ...Thread[]]
      const successor = others.reduce((least, thread) =>
        thread.counters.listeners < least.counters.listeners ? thread : least,
      )
      this.#wanted--
      await this.#retire(fewest, reason, successor)
    }
  }

  /** Runs reloads and scalings one after another, since both change the number of threads. */
  #serialize(task: () => Promise<void>): Promise<void> {
    const done = this.#lastTask.then(task)
    this.#lastTask = done.catch(() => {})
    return done
  }
}

function ignore(): void {}

async function assertFree(listen: CheckedListenOptions): Promise<void> {
  const server = net.createServer()
  await listenOn(server, listen)
  await new Promise((resolve) => server.close(resolve))
}
