import type { Clock, Logger, OpenProvider, ProvidedName, ProviderListener, ServedCertificate } from '../index.ts'
import { describeError } from '../runtime/describe-error.ts'
import { AcmeProblem, type Proof } from './authority.ts'
import { type Pair, readPair, renewalOf } from './pair.ts'
import type { Store } from './store.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** Other listeners, such as that on port 80, may not be there yet: the first order waits for them. */
const START_MS = 1000
/** The longest time between two looks at the calendar, ms: a machine may sleep, and its timers with it. */
const LOOK_MS = HOUR_MS
/** How long to wait after the first failure, the second, and so on, ms. Let's Encrypt takes five failures an hour. */
const WAITS_MS = [MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 8 * HOUR_MS, DAY_MS]
/** Longer waits that an authority asks for are cut to this, ms. */
const LONGEST_WAIT_MS = 7 * DAY_MS

/** Orders one certificate; see {@link import('./authority.ts').Authority.order}. */
export type Order = (name: string, show: (proof: Proof) => Promise<() => void>, signal: AbortSignal) => Promise<string>

interface Entry {
  readonly name: string
  pair: Pair | null
  failures: number
  /** No order before that, ms since the Unix epoch. */
  retryAt: number
  fault: string | null
}

/** Of one folder, and so of one account, one order runs at a time in this process. */
const turns = new Map<string, Promise<unknown>>()

/** Keeps a certificate for each name: from the store, or ordered. */
export class Keeper {
  readonly #store: Store
  readonly #order: Order
  readonly #entries: readonly Entry[]
  readonly #listeners = new Set<ProviderListener>()
  readonly #challenges = new Set<ServedCertificate>()
  /** Key authorizations of http-01, by token. */
  readonly tokens = new Map<string, string>()
  #isOrdering = false
  #stop = new AbortController()
  #cancelLook = (): void => {}

  constructor(names: readonly string[], store: Store, order: Order) {
    this.#store = store
    this.#order = order
    this.#entries = names.map((name) => ({ name, pair: null, failures: 0, retryAt: 0, fault: null }))
  }

  /** @throws Error if the store cannot be used. */
  open(listener: ProviderListener): OpenProvider {
    this.#store.open()
    for (const entry of this.#entries) this.#load(entry, listener.logger)
    const [entries, challenges] = [this.#entries, this.#challenges]
    return {
      get names() {
        return entries.map(
          ({ name, pair, fault }): ProvidedName => ({
            name,
            certificate: pair?.served ?? null,
            subject: pair?.subject ?? '',
            validTo: pair === null ? '' : new Date(pair.validTo).toISOString(),
            fault,
          }),
        )
      },
      get challenges() {
        return Array.from(challenges)
      },
      begin: () => this.#begin(listener),
      close: () => this.#end(listener),
    }
  }

  #begin(listener: ProviderListener): void {
    this.#listeners.add(listener)
    const missing = this.#entries.filter(({ pair }) => pair === null).map(({ name }) => name)
    if (missing.length > 0) {
      const message = `acme: there is no certificate for ${missing.join(', ')} yet: until it is ordered, clients that ask for it see none that is valid for it`
      listener.logger.warn({ names: missing }, message)
    }
    if (this.#listeners.size > 1) return
    this.#stop = new AbortController()
    this.#lookIn(START_MS, listener.clock)
  }

  #end(listener: ProviderListener): void {
    if (!this.#listeners.delete(listener)) return
    this.#cancelLook()
    const [next] = this.#listeners
    if (next !== undefined) this.#lookIn(START_MS, next.clock)
    else this.#stop.abort(new Error('the listener was closed'))
  }

  #lookIn(ms: number, clock: Clock): void {
    this.#cancelLook()
    this.#cancelLook = clock.schedule(ms, () => this.#look())
  }

  /** Orders what is due first, or waits for it. */
  #look(): void {
    const [listener] = this.#listeners
    if (listener === undefined || this.#isOrdering) return
    const now = listener.clock.epoch()
    const [first] = this.#entries.toSorted((a, b) => dueAt(a) - dueAt(b))
    if (first === undefined) return
    if (dueAt(first) > now) return this.#lookIn(Math.min(dueAt(first) - now, LOOK_MS), listener.clock)
    this.#isOrdering = true
    const { signal } = this.#stop
    this.#inTurn(() => this.#renew(first, listener, signal)).finally(() => {
      this.#isOrdering = false
      this.#look()
    })
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const { folder } = this.#store
    const own = (turns.get(folder) ?? Promise.resolve()).then(task)
    turns.set(folder, own)
    return own.finally(() => {
      if (turns.get(folder) === own) turns.delete(folder)
    })
  }

  /** Never rejects. */
  async #renew(entry: Entry, { clock, logger }: ProviderListener, signal: AbortSignal): Promise<void> {
    try {
      // Another process with this folder may have been faster.
      if (this.#load(entry, logger) && dueAt(entry) > clock.epoch()) return await this.#apply(logger)
      if (signal.aborted) return
      const text = await this.#order(entry.name, (proof) => this.#show(proof), signal)
      const pair = readPair(text, entry.name)
      if (typeof pair === 'string') throw new Error(`what the authority has sent ${pair}`)
      this.#keep(entry, text, pair, logger)
      // If the clock of this machine is wrong, the new one is due at once, too.
      entry.retryAt = clock.epoch() + Math.min((pair.validTo - pair.validFrom) / 3, DAY_MS)
      await this.#apply(logger)
      const until = new Date(pair.validTo).toISOString()
      logger.info(
        { name: entry.name, validTo: until },
        `acme: there is a new certificate for ${entry.name}, valid until ${until}`,
      )
    } catch (error) {
      if (!signal.aborted) this.#fail(entry, error, clock, logger)
    }
  }

  #keep(entry: Entry, text: string, pair: Pair, logger: Logger): void {
    entry.pair = pair
    entry.failures = 0
    entry.retryAt = 0
    entry.fault = null
    try {
      this.#store.write({ name: entry.name }, text)
    } catch (error) {
      const message = `acme: the certificate for ${entry.name} is used, but could not be stored: ${describeError(error)}; after a restart it is ordered again`
      logger.error({ name: entry.name, err: error }, message)
    }
  }

  #fail(entry: Entry, error: unknown, clock: Clock, logger: Logger): void {
    const { name, pair } = entry
    const wait = WAITS_MS[Math.min(entry.failures, WAITS_MS.length - 1)] as number
    // Not all names of all machines at one time.
    const spread = wait * (0.9 + 0.2 * clock.random())
    const asked = error instanceof AcmeProblem ? Math.min(error.retryAfterMs, LONGEST_WAIT_MS) : 0
    const retryMs = Math.round(Math.max(spread, asked))
    const now = clock.epoch()
    entry.failures++
    entry.retryAt = now + retryMs
    entry.fault = describeError(error)
    const state =
      pair === null
        ? 'until then clients that ask for it see none that is valid for it'
        : `the one in use ${pair.validTo > now ? 'is valid until' : 'has expired on'} ${new Date(pair.validTo).toISOString()}`
    const message = `acme: the certificate for ${name} could not be ordered: ${entry.fault}; the next attempt is in ${span(retryMs)}; ${state}`
    logger.error({ name, failures: entry.failures, retryMs, err: error }, message)
  }

  /** Takes what is stored for a name, if it is newer. @returns whether it was. */
  #load(entry: Entry, logger: Logger): boolean {
    let pair: Pair | string
    try {
      const text = this.#store.read(entry)
      if (text === null) return false
      pair = readPair(text, entry.name)
    } catch (error) {
      pair = `cannot be read: ${describeError(error)}`
    }
    if (typeof pair === 'string') {
      logger.warn(
        { name: entry.name },
        `acme: ${this.#store.pathOf(entry)} ${pair}; it is not used, and another one is ordered`,
      )
      return false
    }
    if (pair.validTo <= (entry.pair?.validTo ?? 0)) return false
    entry.pair = pair
    entry.failures = 0
    entry.retryAt = 0
    entry.fault = null
    return true
  }

  /** Shows a challenge to the authority. */
  async #show({ name, token, keyAuthorization, certificate }: Proof): Promise<() => void> {
    if (certificate === null) {
      this.tokens.set(token, keyAuthorization)
      return () => this.tokens.delete(token)
    }
    const served = { ...certificate, names: [name] }
    this.#challenges.add(served)
    // The next change takes that to the threads: nobody but an authority asks for it.
    const takeBack = (): void => void this.#challenges.delete(served)
    try {
      await Promise.all(Array.from(this.#listeners, (one) => one.apply()))
    } catch (error) {
      takeBack()
      throw error
    }
    return takeBack
  }

  async #apply(logger: Logger): Promise<void> {
    try {
      await Promise.all(Array.from(this.#listeners, (one) => one.apply()))
    } catch (error) {
      logger.error({ err: error }, `acme: a certificate was not changed in every thread: ${describeError(error)}`)
    }
  }
}

/** When to order, ms since the Unix epoch. */
function dueAt({ pair, retryAt }: Entry): number {
  return Math.max(pair === null ? 0 : renewalOf(pair), retryAt)
}

function span(ms: number): string {
  if (ms < 2 * HOUR_MS) return `${Math.round(ms / MINUTE_MS)} min`
  return ms < 2 * DAY_MS ? `${Math.round(ms / HOUR_MS)} h` : `${Math.round(ms / DAY_MS)} days`
}
