import type {
  CheckedListenOptions,
  Executor,
  Job,
  ListenAddress,
  ListenCertificate,
  ListenerTls,
  ListenOptions,
  Running,
  ThreadStats,
} from '../contracts/executor.ts'
import { isCertificate, listenOptions } from '../fronts/listen-options.ts'
import { ProxyError } from '../model/errors.ts'
import { emitForwarded, FORWARDED } from '../threads/bridge.ts'
import { ChangeHistory } from '../threads/change-history.ts'
import type { ProxyObserver, ServingThreads, ThreadedJob, ThreadedWork, ThreadsChange } from '../threads/protocol.ts'
import type { Assembled } from './assemble.ts'
import { ListenerCertificates } from './listener-certificates.ts'
import type { Listeners } from './listeners.ts'
import { PastThreads } from './stats.ts'
import type { ProxyStats } from './types.ts'

/** The parts and options that {@link Serving} uses. */
export interface ServingDeps {
  readonly assembled: Assembled
  readonly listeners: Listeners
  readonly executor: Executor
  /** `null` if no threads serve the proxy. */
  readonly work: ThreadedWork | null
  readonly drainTimeoutMs: number
}

/** Starts the executor's jobs for the proxy, keeps its threads up to date, and receives their reports. */
export class Serving {
  readonly #deps: ServingDeps
  readonly #running = new Set<Running>()
  /** Jobs that the executor is still starting. */
  readonly #starting = new Set<Promise<Running>>()
  /** Changes for threads that start later. */
  readonly #changes = new ChangeHistory()
  /** Of the listeners with TLS. */
  readonly #certificates = new Map<ListenerCertificates, Promise<Running>>()
  #lastListener = 0
  /** No job may start any more. */
  isClosed = false
  /** Statistics of threads that have ended. */
  readonly past = new PastThreads()

  constructor(deps: ServingDeps) {
    this.#deps = deps
  }

  /** Threads serve the proxy, or will after `listen()`. */
  get hasThreads(): boolean {
    return this.#deps.work !== null
  }

  async listen(where: number | string | ListenOptions): Promise<ListenAddress> {
    const { executor, assembled } = this.#deps
    if (this.isClosed) throw new ProxyError('ERR_PROXY_CLOSED', 'the proxy is closed and cannot listen again')
    const { tls, ...given } = listenOptions(where)
    const certificates = tls === undefined ? null : this.#readCertificates(tls)
    const starting = executor.start(this.#job({ ...given, tls: certificates?.current }))
    this.#starting.add(starting)
    if (certificates !== null) this.#certificates.set(certificates, starting)
    const started = await starting
      .catch((error: unknown) => {
        if (certificates !== null) this.#dropCertificates(certificates)
        throw error
      })
      .finally(() => this.#starting.delete(starting))
    if (this.isClosed) throw new ProxyError('ERR_PROXY_CLOSED', 'the proxy was closed before it listened')
    this.#running.add(started)
    certificates?.begin()
    this.updateSubscriptions()
    const { address } = started
    // The caller has the address, and may print it.
    assembled.core.services.logger.debug(
      { url: address.url, host: address.host, port: address.port },
      `listening on ${address.url || address.host}`,
    )
    return address
  }

  /** Statistics of each running thread. */
  threads(): ThreadStats[] {
    return this.#threads().flatMap((one) => one.threads())
  }

  /** Called when event listeners were added or removed: threads forward only events that have a listener. */
  updateSubscriptions(): void {
    const { events } = this.#deps.assembled
    for (const one of this.#threads()) one.subscribe(FORWARDED.filter((event) => events.has(event)))
  }

  /** Makes a change in all threads. Resolves when running and starting threads have made it. Later threads make it when they start. */
  async change(change: ThreadsChange): Promise<void> {
    this.#changes.add(change)
    const apply = (one: Running): Promise<void> | undefined => threadsOf(one)?.change(change)
    const made = Array.from(this.#running, apply)
    // If one cannot start, `listen()` rejects.
    for (const one of this.#starting) made.push(one.then(apply, ignore))
    await Promise.all(made)
  }

  /** Adds a certificate to every listener with TLS, or replaces one. */
  async replaceCertificate(certificate: ListenCertificate): Promise<void> {
    if (!isCertificate(certificate))
      throw new TypeError('replaceCertificate: allowed: { cert, key, names? }, each of them a path or PEM')
    if (this.#certificates.size === 0) {
      throw new TypeError('replaceCertificate: no listener has TLS; give the first certificate to listen({ tls })')
    }
    await Promise.all(Array.from(this.#certificates.keys(), (one) => one.replace(certificate)))
  }

  /** Reads the files of certificates that have changed. */
  async reloadCertificates(): Promise<void> {
    await Promise.all(Array.from(this.#certificates.keys(), (one) => one.reload()))
  }

  tls(): ProxyStats['tls'] {
    return Array.from(this.#certificates.keys(), (one) => ({
      listener: one.current.listener,
      certificates: one.stats(),
    }))
  }

  #readCertificates(tls: NonNullable<ListenOptions['tls']>): ListenerCertificates {
    const { clock, logger } = this.#deps.assembled.core.services
    const certificates: ListenerCertificates = new ListenerCertificates(++this.#lastListener, tls, {
      clock,
      logger,
      apply: (next) => this.#changeTls(next, this.#certificates.get(certificates)),
    })
    return certificates
  }

  async #changeTls(tls: ListenerTls, running: Promise<Running> | undefined): Promise<void> {
    this.#deps.listeners.changeTls(tls)
    const started = await running
    if (started !== undefined) await threadsOf(started)?.change({ tls })
  }

  #dropCertificates(certificates: ListenerCertificates): void {
    certificates.close()
    this.#certificates.delete(certificates)
  }

  async reload(): Promise<void> {
    await Promise.all(this.#threads().map((one) => one.reload()))
  }

  /** Prevents new jobs. @returns a function that closes the running jobs and those that are starting. */
  stop(): () => Promise<void>[] {
    this.isClosed = true
    for (const one of this.#certificates.keys()) this.#dropCertificates(one)
    const starting = Array.from(this.#starting)
    return () => {
      const closed = Array.from(this.#running, (one) => one.close())
      // If one cannot start, `listen()` rejects.
      for (const one of starting) closed.push(one.then((started) => started.close(), ignore))
      return closed
    }
  }

  #job(listen: CheckedListenOptions): Job | ThreadedJob {
    const { work, drainTimeoutMs, assembled, listeners } = this.#deps
    const job: Job = { listen, serve: (options) => listeners.serve(options) }
    if (work === null) return job
    return {
      ...job,
      ...work,
      changes: this.#changes,
      drainTimeoutMs,
      logger: assembled.core.services.logger,
      observer: this.#observer(),
    }
  }

  #observer(): ProxyObserver {
    const { core, events, groups, accessLog } = this.#deps.assembled
    const { observers } = core.services
    const { past } = this
    const updateSubscriptions = (): void => this.updateSubscriptions()
    return {
      onThread(change) {
        if (change.what === 'ended' || change.what === 'died') past.add(change.stats, groups.named)
        observers.notify('onThread', change)
      },
      onLines(lines) {
        for (const line of lines) accessLog?.writeLine(line)
      },
      onEvent(event) {
        emitForwarded(events, event, (id) => groups.findBackend(id))
        // A `once` listener may have fired: update the threads' subscriptions.
        if (!events.has(event.event)) updateSubscriptions()
      },
      // `undefined` unless someone listens to 'error'; the executor then sets the exit code itself.
      get onFailed() {
        if (!events.has('error')) return undefined
        return (error: Error) => observers.notify('onError', new ProxyError('ERR_PROXY_THREADS', error.message), null)
      },
    }
  }

  #threads(): ServingThreads[] {
    return Array.from(this.#running, threadsOf).filter((one) => one !== null)
  }
}

/** The running job as threads; `null` if it has none. */
function threadsOf(running: Running): ServingThreads | null {
  return 'subscribe' in running ? (running as ServingThreads) : null
}

function ignore(): void {}
