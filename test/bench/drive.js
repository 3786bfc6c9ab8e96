import { startChild } from './children.js'
import { runWrk } from './wrk.js'

/** How long a load may take over its own duration. */
const GRACE_MS = 15_000

/**
 * Puts a scenario's load on a port for so many seconds. Resolves to what came of it: `requests`, `perSecond`, `p50Us`,
 * `p99Us`, `p999Us`, and `errors` by kind.
 */
export async function drive({ signal, ...run }) {
  if (run.load === 'wrk') return runWrk({ ...run, signal })
  const timeoutMs = run.seconds * 1000 + GRACE_MS
  const child = await startChild(`./loads/${run.load}.js`, [JSON.stringify(run)], { timeoutMs, isLoad: true, signal })
  await child.stop()
  const { requests, perSecond, p50Us, p99Us, p999Us, errors } = child
  return { requests, perSecond, p50Us, p99Us, p999Us, errors }
}
