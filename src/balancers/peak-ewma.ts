import type { Balancer } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Outcome } from '../model/outcome.ts'
import { choiceOfTwo } from './sampling/choice-of-two.ts'
import { redraw } from './sampling/redraw.ts'

/** Options of {@link peakEwma}. */
export interface PeakEwmaOptions {
  /** What a backend is taken to need before its first answer, ms. Default 10. Far above the truth, newcomers wait long for work. */
  defaultRttMs?: number
  /** How fast the past fades: after so many ms 37 % of it are left. Default 10000. */
  decayMs?: number
  /** What a failure counts as at least, ms. Default 5000. Too small, and a backend that fails fast looks like the best. */
  penaltyMs?: number
  /** A number in [0, 1). Default `Math.random`. */
  random?: () => number
  /** Monotonic time, ms. Default `performance.now`. Threads that share their backends' state must share its origin. */
  now?: () => number
}

/** The defaults of {@link PeakEwmaOptions}, ms. That of `defaultRttMs` is Envoy's. */
export const PEAK_EWMA_DEFAULTS = Object.freeze({ defaultRttMs: 10, decayMs: 10_000, penaltyMs: 5000 })

/** Smallest change worth writing, ms. The state holds whole microseconds: what is smaller would be rounded away each time. */
const SMALLEST_STEP_MS = 0.01

/**
 * Power of two choices by latency: of two backends drawn at random, the one with the lower time to the first response
 * byte, times (pending + 1), by weight. The time is a moving average that jumps up to a peak at once and comes down
 * slowly, so that a backend is avoided as soon as it slows. While both are idle weight acts through the draw alone.
 * After tower `load/peak_ewma.rs` and linkerd `load-biaser`.
 *
 * The averages live in the backends' state: threads that share them share what they learnt.
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

  /** The average as it is now: an old one has faded. Reads only. */
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
    // Not written, the average only gets older: the next sample then counts for both.
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
      // The client did not wait for the answer; it would have taken at least as long.
      else if (outcome.kind === 'aborted') raise(backend, outcome.totalMs, nowMs)
    },
    onChange(backends) {
      // From now on the assumption fades like any average.
      for (const { state } of backends) if (state.rttMs === 0) state.setRtt(defaultRttMs, now())
    },
  }
}

/** The response times of failures say nothing about how fast a backend works. */
function isBackendFailure({ kind, status, error }: Outcome): boolean {
  if (kind === 'failed' || kind === 'truncated') return error === null || error.blamesBackend
  return kind === 'answered' && (status === 429 || status >= 500)
}
