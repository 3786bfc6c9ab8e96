import { startChild } from './children.js'
import { runH2load } from './h2load.js'
import { runWrk } from './wrk.js'

/** How long a load may take over its own duration. */
const GRACE_MS = 15_000

/**
 * Puts a scenario's load on a port for so many seconds. Resolves to what came of it: `requests`, `perSecond`, `p50Us`,
 * `p99Us`, `p999Us`, and `errors` by kind.
 */
export async function drive({ signal, ...run }) {
  if (run.load === 'wrk') return runWrk({ ...run, signal })
  if (run.load === 'h2load') return runH2load({ ...run, signal })
  const timeoutMs = run.seconds * 1000 + GRACE_MS
  const child = await startChild(`./loads/${run.load}.js`, [JSON.stringify(run)], { timeoutMs, isLoad: true, signal })
  await child.stop()
  const { requests, perSecond, p50Us, p99Us, p999Us, errors } = child
  return { requests, perSecond, p50Us, p99Us, p999Us, errors }
}

/**
 * Puts the load on for so many seconds, and stops it after each. What opens and closes connections in numbers has to have run as
 * well: where the warm-up was one long run, V8 took back eleven functions when the first measurement began, and spent the
 * next ten seconds on compiling thirty anew.
 */
export async function warmUp(run, seconds) {
  for (let count = 0; count < seconds; count++) await drive({ ...run, seconds: 1 })
}
