// A logger of your own: four methods, called as (fields, message). This one keeps warnings and errors only.
// Run: npm run build && node dist/examples/custom-logger.js
// Try: curl http://127.0.0.1:8080/. The second backend responds, because the first one is down.
import { createProxy, type Logger } from 'heddle'
import { deadPort, mockBackend } from 'heddle/testing'

const ignore = (): void => {}
const logger: Logger = {
  debug: ignore,
  info: ignore,
  warn: (_fields, message) => console.log('warning:', message),
  error: (fields, message) => console.log('error:', message, fields),
}

const down = await deadPort()
const backend = await mockBackend({ body: 'the second\n' })

const proxy = createProxy({
  backends: [down.url, backend.url],
  balancer: 'first-available',
  healthCheck: { consecutiveFailures: 1 }, // one failure, and it is out of the balance for a while
  logger,
})
const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await proxy.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
