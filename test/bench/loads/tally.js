import { createHistogram } from 'node:perf_hooks'
import { announce } from '../announce.js'

/** Counts what a load did, and tells it as wrk.js does. */
export function tally() {
  const latencies = createHistogram()
  const errors = {}
  return {
    /** One more was answered, after so many ms. */
    answered(ms) {
      latencies.record(Math.max(1, Math.round(ms * 1000)))
    },
    /** One more failed, in this way. */
    failed(kind) {
      errors[kind] = (errors[kind] ?? 0) + 1
    },
    /** @param requests how many count, if it is not those that were answered. */
    announce(ms, requests = latencies.count) {
      announce({
        requests,
        perSecond: (requests / ms) * 1000,
        p50Us: latencies.percentile(50),
        p99Us: latencies.percentile(99),
        p999Us: latencies.percentile(99.9),
        errors,
      })
    },
  }
}
