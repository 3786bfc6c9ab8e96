// Several threads on one port, controlled by one proxy: each thread accepts connections and has its own to the backends.
// Run: npm run build && node dist/examples/threads/main.js
// Try: for i in 1 2 3 4; do curl http://127.0.0.1:8080/; done; then kill -HUP its process
import { createProxy, workerThreads } from 'heddle'
import { mockBackend } from 'heddle/testing'

// In place of your servers.
const one = await mockBackend({ body: 'one\n' })
const two = await mockBackend({ body: 'two\n' })

const proxy = createProxy({
  backends: [
    { url: one.url, id: 'one' },
    { url: two.url, id: 'two' },
  ],
  balancer: 'least-connections', // by name: options are sent to the threads, and functions cannot be sent
  executor: workerThreads({ threads: 2 }), // or 'auto', or { min: 1, max: 4 } to follow the load
})
// Events and stats of all threads come together here; so do the lines of an access log.
proxy.on('thread', ({ thread, what, reason }) => console.log(`thread ${thread} ${what} (${reason})`))
proxy.on('finish', (_exchange, { thread, target, backend }) => {
  console.log(`thread ${thread}: ${target} went to ${backend}`)
})

const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

// Replaces the threads, one at a time: no request is refused or truncated.
process.on('SIGHUP', () => void proxy.reload())

async function stop(): Promise<void> {
  await proxy.close()
  await Promise.all([one.close(), two.close()])
}
process.once('SIGINT', stop).once('SIGTERM', stop)
