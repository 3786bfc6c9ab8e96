// Diagnostics and an access log through pino. Any logger with the same methods and order of arguments works.
// Run: npm run build && node dist/examples/pino-logger.js
// Try: curl http://127.0.0.1:8080/
import { createProxy } from 'heddle'
import { mockBackend } from 'heddle/testing'
import { pino } from 'pino'

const log = pino()
const backend = await mockBackend()

const proxy = createProxy({ target: backend.url, logger: log })
// One record for each request, however it ended. With `accessLog: 'combined'` the proxy writes the usual lines itself.
proxy.on('finish', (_exchange, record) => log.info(record, 'request'))

const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await proxy.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
