import type { RetryPolicy } from '../contracts/retry-policy.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import type { Complete } from '../runtime/complete.ts'

/** When to retry a request that can safely be sent again. */
export interface RetryOptions {
  /** Attempts after the first one. Default 2. */
  maxRetries?: number | undefined
  /** Retries allowed over the last ten seconds, in percent of the first attempts. Default 20. */
  budgetPercent?: number | undefined
  /** Retries a second that are always allowed, as an average over ten seconds. Default 10. */
  minPerSecond?: number | undefined
  /**
   * Unit of the backoff, ms. The first retry is immediate; the Nth waits a random time below (2^N - 1) units. Default
   * 25.
   */
  baseDelayMs?: number | undefined
  /** Longest wait, ms. Default 250. */
  maxDelayMs?: number | undefined
}

/** The defaults of {@link RetryOptions}. */
export const RETRY_DEFAULTS: Readonly<Complete<RetryOptions>> = Object.freeze({
  maxRetries: 2,
  budgetPercent: 20,
  minPerSecond: 10,
  baseDelayMs: 25,
  maxDelayMs: 250,
})

/**
 * Retries within a budget, so that they cannot turn an overload into a collapse: over any ten seconds at most
 * `minPerSecond` x 10 plus `budgetPercent` of the first attempts. The first retry is immediate, because it goes to another
 * backend if there is one. Later ones back off with full jitter.
 *
 * Sources: tower's `TpsBudget` (budget); Envoy's router filter, `x-envoy-max-retries` (backoff).
 */
export function budgetedRetries(options: RetryOptions = {}, clock: Clock = systemClock): RetryPolicy {
  const maxRetries = options.maxRetries ?? RETRY_DEFAULTS.maxRetries
  const baseDelayMs = options.baseDelayMs ?? RETRY_DEFAULTS.baseDelayMs
  const maxDelayMs = options.maxDelayMs ?? RETRY_DEFAULTS.maxDelayMs
  const budget = tokenBudget(
    (options.budgetPercent ?? RETRY_DEFAULTS.budgetPercent) / 100,
    options.minPerSecond ?? RETRY_DEFAULTS.minPerSecond,
    () => clock.now(),
  )

  return {
    name: 'budgeted',
    onExchange: budget.deposit,
    next(exchange) {
      const retry = exchange.attempts
      // The budget comes last: an exchange that has no retries left must not cost a token.
      if (retry > maxRetries || !budget.withdraw()) return -1
      if (retry === 1) return 0
      return clock.random() * Math.min((2 ** retry - 1) * baseDelayMs, maxDelayMs)
    },
  }
}

/** Deposits and withdrawals count for 10 slots of a second. */
const SLOTS = 10
const SLOT_MS = 1000

/** A token bucket in slots: each slot holds the deposits and withdrawals of one second, and expires after ten. */
function tokenBudget(ratio: number, minPerSecond: number, now: () => number) {
  const price = ratio === 0 ? 1 : 1 / ratio
  const income = ratio === 0 ? 0 : 1
  const reserve = minPerSecond * ((SLOTS * SLOT_MS) / 1000) * price
  const slots = new Float64Array(SLOTS)
  let current = 0
  let currentSince = now()

  function advance(): void {
    const passed = Math.floor((now() - currentSince) / SLOT_MS)
    if (passed <= 0) return
    for (let i = 0; i < Math.min(passed, SLOTS); i += 1) {
      current = (current + 1) % SLOTS
      slots[current] = 0
    }
    currentSince += passed * SLOT_MS
  }

  function add(tokens: number): void {
    slots[current] = (slots[current] ?? 0) + tokens
  }

  return {
    deposit(): void {
      advance()
      add(income)
    },
    /** Spends the price of a retry. @returns `false` if there are too few tokens. */
    withdraw(): boolean {
      advance()
      const balance = slots.reduce((sum, tokens) => sum + tokens, reserve)
      // A tolerance of 0.001: 1 / 0.3 and the like are not exact, and rounding must not cost a token.
      if (balance + 0.001 < price) return false
      add(-price)
      return true
    },
  }
}
