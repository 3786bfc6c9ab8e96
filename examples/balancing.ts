// Two backends, one of them twice as strong, and a proxy that listens by itself.
// Run: npm run build && node dist/examples/balancing.js
// Try: for i in 1 2 3 4; do curl http://127.0.0.1:8080/; done
import { createProxy, roundRobin } from 'heddle'
import { mockBackend } from 'heddle/testing'

// In place of your servers.
const strong = await mockBackend({ body: 'strong\n' })
const weak = await mockBackend({ body: 'weak\n' })

const proxy = createProxy({
  backends: [{ url: strong.url, weight: 2 }, weak.url],
  // The default is powerOfTwo(), which sees how busy each backend is.
  balancer: roundRobin(),
})
// Five failures in a row take a backend out of the balance for 30 s; see `healthCheck` in docs/configuration.md.
proxy.on('eject', (backend, ms, reason) => console.log(`${backend.id} is out for ${ms} ms: ${reason}`))

const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await proxy.close()
  await Promise.all([strong.close(), weak.close()])
}
process.once('SIGINT', stop).once('SIGTERM', stop)
