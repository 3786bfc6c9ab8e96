import net from 'node:net'
import type { ListenAddress, ListenOptions, ThreadStats } from '../contracts/executor.ts'
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
import { chooseSpread, handsListenersOver } from './spread.ts'
import { type SupervisedJob, ThreadSet } from './thread-set.ts'

/** Starts the threads of a job. Rejects if one of them cannot serve. */
export async function startThreads(job: SupervisedJob, settings: ThreadSettings): Promise<ServingThreads> {
  if (job.listen.fallback !== undefined) {
    throw new Error(
      'a fallback server belongs to this thread; with threads, each makes its own in a module of serveModule()',
    )
  }
  if (job.listen.path !== undefined) {
    throw new Error('threads cannot share a unix socket; listen on a port, or use one thread')
  }
  assertCloneable('listen.tls', job.listen.tls)
  const spread = await chooseSpread(settings.spread)
  const supervisor = new Supervisor(job, settings)
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

/** Decides which threads serve a job: their number, their replacements, their end. */
class Supervisor implements ServingThreads, ThreadOwner, ReplacementsOwner {
  readonly #listen: ListenOptions
  readonly #settings: ThreadSettings
  readonly #reports: ThreadReports
  readonly #threads: ThreadSet
  readonly #load: LoadWatch
  readonly #replacements: Replacements
  readonly #changes: ChangeHistory
  #subscriptions: readonly ForwardedEvent[] = []
  #address: ListenAddress | null = null
  #acceptor: Acceptor | null = null
  /** Threads that go leave their listening sockets to others. */
  #handsOver = false
  /** The first ones serve. */
  #hasBegun = false
  /** So many are to serve; what dies is replaced. */
  #wanted: number
  #lastChange = 0
  #isClosing = false
  #closing: Promise<void> | null = null
  #working: Promise<unknown> = Promise.resolve()
  /** Keeps the process alive, as a server that listens does, also while no thread lives and one is to be started. */
  #hold: NodeJS.Timeout | null = null

  constructor(job: SupervisedJob, settings: ThreadSettings) {
    this.#listen = job.listen
    this.#settings = settings
    this.#reports = new ThreadReports(job.logger, job.observer)
    // One more: the one that replaces another lives beside it.
    this.#threads = new ThreadSet(job, settings, this, settings.max + 1)
    this.#wanted = settings.min
    this.#changes = new ChangeHistory(job.changes)
    this.#replacements = new Replacements(settings, this)
    this.#load = new LoadWatch(this.#threads, settings, (step, reason) => {
      this.#oneByOne(() => this.#scale(step, reason)).catch((error: unknown) => {
        this.#reports.log('error', { err: error }, `the number of threads stays: ${describeError(error)}`)
      })
    })
  }

  get address(): ListenAddress {
    return this.#address as ListenAddress
  }

  /** Each thread listens. The first one finds the port if any will do. */
  async listenInThreads(): Promise<void> {
    const { port = 0 } = this.#listen
    this.#handsOver = await handsListenersOver()
    // Threads share the port with whoever asks for it in the same way: another program of this user would go unseen.
    if (port !== 0) await assertFree(this.#listen)
    this.#address = await this.#start('the first', this.#at(port)).serving
  }

  /** This thread listens and hands connections on. */
  async listenHere(): Promise<void> {
    this.#acceptor = new Acceptor(() => this.#threads.serving(), this.#reports)
    this.#address = await this.#acceptor.listen(this.#listen)
  }

  /** Starts the first ones. */
  async fill(): Promise<void> {
    const missing = this.#wanted - this.#threads.all().length
    await Promise.all(Array.from({ length: missing }, () => this.#start('one of the first').serving))
    this.#hasBegun = true
    while (this.#isMissing()) this.#start('one of the first has died')
  }

  threads(): readonly ThreadStats[] {
    return this.#threads.all().map((thread) => thread.stats())
  }

  async change(change: ThreadsChange): Promise<void> {
    assertCloneable(`the change of ${subjectOf(change)}`, change)
    const number = ++this.#lastChange
    const undo = this.#changes.add(change)
    const faults = await Promise.all(this.#threads.all().map((thread) => thread.change(number, change)))
    const fault = faults.find((one) => one !== null) ?? null
    if (fault === null) return
    undo()
    throw new Error(`a thread could not make the change: ${fault}`)
  }

  subscribe(events: readonly ForwardedEvent[]): void {
    this.#subscriptions = events
    for (const thread of this.#threads.all()) thread.subscribe(events)
  }

  reload(): Promise<void> {
    return this.#oneByOne(async () => {
      for (const old of this.#threads.active()) {
        if (this.#isClosing) return
        // What it runs may be what was there before.
        if (old.state === 'starting') await old.serving.catch(ignore)
        if (old.state !== 'serving') continue
        const successor = this.#start(`replaces thread ${old.id}`, this.#where(), this.#handsOver)
        await successor.serving
        await this.#retire(old, `replaced by thread ${successor.id}`, successor)
        // While there was one more, one that died was not missing.
        this.startMissing('one has died')
      }
      // Those that were given up.
      while (!this.#isClosing && this.#isMissing()) await this.#start('reload').serving
      this.#replacements.forget()
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#isClosing = true
    this.#letGo()
    this.#load.close()
    this.#replacements.close()
    await this.#acceptor?.close()
    await Promise.all(this.#threads.all().map((thread) => this.#retire(thread, 'closing')))
  }

  // What threads say:

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
    // What was under way is lost, and nobody is left to report each exchange.
    const fields = { thread: thread.id, code: thread.fault.code, active: stats.active, err: thread.fault }
    this.#reports.log('error', fields, `thread ${thread.id} died: ${thread.reason}`)
    this.#notify(thread, 'died', stats)
    // Until all of the first serve, whoever waits for them gets the error.
    if (!this.#isClosing && this.#hasBegun && this.#isMissing()) this.#replacements.replace(thread)
  }

  #notify(thread: Thread, what: Parameters<ThreadReports['changed']>[0], stats = thread.stats()): void {
    this.#reports.changed(what, thread.reason, this.#threads.serving().length, stats)
  }

  // What becomes of the dead:

  giveUp(error: Error): void {
    this.#reports.log('error', { serving: this.#threads.serving().length }, error.message)
    const isHeard = this.#reports.failed(error)
    if (this.#threads.active().length > 0) return
    this.#letGo()
    if (isHeard) return
    // A process without threads would end as if all were well.
    process.emitWarning(error)
    process.exitCode ??= 1
  }

  startMissing(reason: string): void {
    if (!this.#isClosing && this.#isMissing()) this.#start(reason)
  }

  #isMissing(): boolean {
    return this.#threads.active().length < this.#wanted
  }

  #letGo(): void {
    if (this.#hold !== null) clearInterval(this.#hold)
    this.#hold = null
  }

  // One thread:

  /** @param adopts it is handed a listening socket when it serves. */
  #start(reason: string, listen = this.#where(), adopts = false): Thread {
    const beginning = { reason, listen, adopts, subscriptions: this.#subscriptions, changes: this.#changes }
    const thread = this.#threads.start(beginning)
    this.#hold ??= setInterval(() => {}, LONGEST_MS)
    return thread
  }

  async #retire(thread: Thread, reason: string, successor?: Thread): Promise<void> {
    // By close(): it may listen no more, and has been reported.
    if (thread.wasAsked) return thread.ended
    if (successor !== undefined && this.#handsOver) thread.handOverListeners(Number.POSITIVE_INFINITY, successor)
    if (thread.state === 'ended') return
    thread.reason = reason
    const ended = thread.retire()
    this.#notify(thread, 'retiring')
    await ended
  }

  #where(): ListenOptions | null {
    return this.#acceptor === null ? this.#at(this.address.port) : null
  }

  #at(port: number): ListenOptions {
    const { host, backlog } = this.#listen
    return { port, ...(host !== undefined && { host }), ...(backlog !== undefined && { backlog }) }
  }

  // The number of threads:

  async #scale(step: 1 | -1, reason: string): Promise<void> {
    const serving = this.#threads.serving()
    if (this.#isClosing) return
    if (step > 0) {
      if (this.#wanted >= this.#settings.max) return
      // One that has adopted others' sockets would get more than its share of the connections.
      const rich = serving.find(({ counters }) => counters.listeners > 1)
      const added = this.#start(reason, this.#where(), rich !== undefined)
      await added.serving
      rich?.handOverListeners(1, added)
      this.#wanted++
      // While there was one more, one that died was not missing.
      this.startMissing('one has died')
    } else if (serving.length > this.#settings.min) {
      const byConnections = serving.toSorted((a, b) => a.counters.connections - b.counters.connections)
      const [fewest, ...others] = byConnections as [Thread, ...Thread[]]
      const successor = others.reduce((poor, one) => (one.counters.listeners < poor.counters.listeners ? one : poor))
      this.#wanted--
      await this.#retire(fewest, reason, successor)
    }
  }

  /** Reloading and scaling change the number of threads, and wait for each other. */
  #oneByOne(work: () => Promise<void>): Promise<void> {
    const done = this.#working.then(work)
    this.#working = done.catch(() => {})
    return done
  }
}

function ignore(): void {}

async function assertFree(listen: ListenOptions): Promise<void> {
  const server = net.createServer()
  await listenOn(server, listen)
  await new Promise((resolve) => server.close(resolve))
}
