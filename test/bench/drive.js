import { runWrk } from './wrk.js'

/**
 * Puts a scenario's load on a port for so many seconds. Resolves to what came of it: `requests`, `perSecond`, `p50Us`,
 * `p99Us`, `p999Us`, and `errors` by kind.
 */
export function drive(run) {
  return runWrk(run)
}
