/**
 * The child's side of children.js: says on one line of JSON that it listens, and ends when the runner does.
 * Started by hand there is no channel: then it runs until Ctrl-C.
 */
export function announce(facts) {
  process.stdout.write(`${JSON.stringify({ pid: process.pid, ...facts })}\n`)
}

/** `process.exit`, not a signal's default: exit handlers run, and so does the writing of a CPU profile. */
export function endWithParent(cleanUp = async () => {}) {
  const end = () => cleanUp().finally(() => process.exit(0))
  for (const event of ['disconnect', 'SIGINT', 'SIGTERM', 'SIGHUP']) process.once(event, end)
}
