// A balancer of your own: any object with a name and `pick`. This one prefers backends in its own zone.
// Run: npm run build && ZONE=b node dist/examples/custom-balancer.js
// Try: curl http://127.0.0.1:8080/
import { type Balancer, createProxy } from 'heddle'
import { mockBackend } from 'heddle/testing'

function nearest(zone: string): Balancer {
  return {
    name: 'nearest',
    // `candidates` are available, this request has not tried them, and the list is never empty.
    pick: (candidates) => candidates.find((backend) => backend.metadata.zone === zone) ?? candidates[0],
  }
}

const a = await mockBackend({ body: 'zone a\n' })
const b = await mockBackend({ body: 'zone b\n' })

const proxy = createProxy({
  backends: [
    { url: a.url, metadata: { zone: 'a' } },
    { url: b.url, metadata: { zone: 'b' } },
  ],
  balancer: nearest(process.env.ZONE ?? 'b'),
})
const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await proxy.close()
  await Promise.all([a.close(), b.close()])
}
process.once('SIGINT', stop).once('SIGTERM', stop)
