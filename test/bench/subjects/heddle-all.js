import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../daemon.js'
import { listen } from '../listen.js'

// What an application in production switches on: an access log in a file, ejection of failing backends, retries, and metrics
// of its own from the events.

const log = createWriteStream(join(temporaryFolder(), 'access.log'))
const proxy = await listen({
  accessLog: { format: 'combined', write: (line) => log.write(`${line}\n`) },
  healthCheck: { consecutiveFailures: 5 },
  retry: { attempts: 2 },
})
const counts = {}
for (const event of ['request', 'attempt', 'retry', 'response', 'error', 'finish', 'eject', 'uneject']) {
  counts[event] = 0
  proxy.on(event, () => counts[event]++)
}
