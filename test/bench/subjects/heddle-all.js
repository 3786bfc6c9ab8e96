import { openSync } from 'node:fs'
import { join } from 'node:path'
import { lineWriter } from '../../../dist/src/index.js'
import { temporaryFolder } from '../daemon.js'
import { listen } from '../listen.js'

// What an application in production switches on: an access log in a file, ejection of failing backends, probes, retries, and metrics
// of its own from the events.

const log = lineWriter(openSync(join(temporaryFolder(), 'access.log'), 'a'))
const proxy = await listen({
  accessLog: { format: 'combined', write: log.write },
  // A WebSocket server says 426 to a plain request.
  healthCheck: { consecutiveFailures: 5, probe: { path: '/', statuses: [200, 426] } },
  retry: { maxRetries: 2 },
})
const counts = {}
for (const event of [
  'request',
  'attempt',
  'retry',
  'response',
  'error',
  'finish',
  'eject',
  'uneject',
  'unhealthy',
  'healthy',
]) {
  counts[event] = 0
  proxy.on(event, () => counts[event]++)
}
