// WebSocket, and every other Upgrade, through the proxy: attach() serves a server's requests and its upgrades.
// Run: npm run build && node dist/examples/websocket.js
// Try: npx wscat -c ws://127.0.0.1:8080/
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { createProxy } from 'heddle'
import { WebSocketServer } from 'ws'

// In place of your WebSocket server.
const backend = new WebSocketServer({ port: 0, host: '127.0.0.1' })
backend.on('connection', (socket) => socket.on('message', (message) => socket.send(`you said ${message}`)))
await once(backend, 'listening')

const proxy = createProxy({ target: `http://127.0.0.1:${(backend.address() as AddressInfo).port}` })

const server = http.createServer()
proxy.attach(server)
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})

async function stop(): Promise<void> {
  server.close()
  await proxy.close() // asks both ends of each WebSocket to close: 1001, going away
  backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
