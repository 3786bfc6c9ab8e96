import type { Balancer } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import { judgedStatus } from '../model/grpc.ts'
import type { Outcome } from '../model/outcome.ts'
import { choiceOfTwo } from './sampling/choice-of-two.ts'
import { redraw } from './sampling/redraw.ts'

/** Options of {@link peakEwma}. */
export interface PeakEwmaOptions {
  /**
   * Assumed response time of a backend before its first response, ms. Default 10. If far too high, new backends get few
   * requests.
   */
  defaultRttMs?: number | undefined
  /** Time after which 37 % of the old average are left, ms. Default 10000. */
  decayMs?: number | undefined
  /**
   * Least response time that a failure counts as, ms. Default 5000. If too low, a backend that fails fast looks like
   * the best.
   */
  penaltyMs?: number | undefined
  /** A number in [0, 1). Default `Math.random`. */
  random?: (() => number) | undefined
  /** Monotonic time, ms. Default `performance.now`. Threads that share their backends' state must share its origin. */
  now?: (() => number) | undefined
}

/** The defaults of {@link PeakEwmaOptions}, ms. `defaultRttMs` is as in Envoy. */
export const PEAK_EWMA_DEFAULTS = Object.freeze({ defaultRttMs: 10, decayMs: 10_000, penaltyMs: 5000 })

/**
 * Smallest change that is written, ms. The state holds whole microseconds: smaller changes would always be rounded
 * away.
 */
const SMALLEST_STEP_MS = 0.01

/**
 * Power of two choices by latency: draws two backends at random and takes the one with the lower
 * latency * (pending + 1) / weight. The latency is a moving average of the time to the first response byte. It rises to a
 * peak at once and falls slowly, so that a backend is avoided as soon as it slows down. If both are idle, only the latency
 * counts; the weights still count in the draw. After tower `load/peak_ewma.rs` and linkerd `load-biaser`.
 *
 * The averages live in the backends' state: threads that share the state share the averages.
 */
export function peakEwma({
  defaultRttMs = PEAK_EWMA_DEFAULTS.defaultRttMs,
  decayMs = PEAK_EWMA_DEFAULTS.decayMs,
  penaltyMs = PEAK_EWMA_DEFAULTS.penaltyMs,
  random = Math.random,
  now = () => performance.now(),
}: PeakEwmaOptions = {}): Balancer {
  for (const [option, value] of Object.entries({ defaultRttMs, decayMs, penaltyMs })) {
    if (!(Number.isFinite(value) && value > 0)) {
      throw new TypeError(`peak-ewma: ${option} is ${value}; give a time in ms over 0, such as ${option}: 1000`)
    }
  }

  /** The average, decayed to `nowMs`. Reads only. */
  const projectedMs = ({ state }: Backend, nowMs: number) => {
    const rttMs = state.rttMs
    return rttMs === 0 ? defaultRttMs : rttMs * Math.exp(-state.rttAgeMs(nowMs) / decayMs)
  }

  const sample = (backend: Backend, sampleMs: number, nowMs: number) => {
    const { state } = backend
    if (state.rttMs === 0 || sampleMs > projectedMs(backend, nowMs)) {
      state.setRtt(sampleMs, nowMs)
      return
    }
    const kept = Math.exp(-state.rttAgeMs(nowMs) / decayMs)
    const nextMs = state.rttMs * kept + sampleMs * (1 - kept)
    // A skipped write leaves the average older, so the next sample weighs more.
    if (Math.abs(state.rttMs - nextMs) >= SMALLEST_STEP_MS) state.setRtt(nextMs, nowMs)
  }

  const raise = (backend: Backend, atLeastMs: number, nowMs: number) => {
    if (atLeastMs > projectedMs(backend, nowMs)) backend.state.setRtt(atLeastMs, nowMs)
  }

  const pick = choiceOfTwo(random, (second, first) => {
    const nowMs = now()
    const ofSecond = second.pending
    const ofFirst = first.pending
    const secondMs = projectedMs(second, nowMs)
    const firstMs = projectedMs(first, nowMs)
    if (ofSecond === 0 && ofFirst === 0) return secondMs < firstMs
    return secondMs * (ofSecond + 1) * first.weight < firstMs * (ofFirst + 1) * second.weight
  })

  return {
    name: 'peak-ewma',
    pick,
    pickUntried: redraw(pick),
    onEnd(backend, outcome) {
      const nowMs = now()
      if (isBackendFailure(outcome)) raise(backend, penaltyMs, nowMs)
      else if (outcome.firstByteMs >= 0) sample(backend, outcome.firstByteMs, nowMs)
      // The client did not wait for the response, which would have taken at least this long.
      else if (outcome.kind === 'aborted') raise(backend, outcome.totalMs, nowMs)
    },
    onChange(backends) {
      // From now on the default decays like any average.
      for (const { state } of backends) if (state.rttMs === 0) state.setRtt(defaultRttMs, now())
    },
  }
}

/** A failure's response time says nothing about the backend's speed. */
function isBackendFailure(outcome: Outcome): boolean {
  const { kind, error } = outcome
  const status = judgedStatus(outcome)
  if (kind === 'failed' || kind === 'truncated') return error === null || error.blamesBackend
  return kind === 'answered' && (status === 429 || status >= 500)
}
