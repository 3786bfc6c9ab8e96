// One backend behind an application's own node:http server, with a graceful end.
// Run: npm run build && node dist/examples/one-backend.js
// Try: curl -i http://127.0.0.1:8080/hello
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { createProxy } from 'heddle'
import { mockBackend } from 'heddle/testing'

const backend = await mockBackend() // in place of your server: responds with the method and path of the request
const proxy = createProxy({ target: backend.url })

const server = http.createServer(proxy.web).on('upgrade', proxy.ws)
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})

async function stop(): Promise<void> {
  server.close() // no new connections
  await proxy.close() // waits for requests in flight
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
