// Hono on Node.js: the proxy behind Hono's middleware, whose headers are sent; WebSocket too.
// Run: npm run build && node dist/examples/hono.js
// Try: curl -i http://127.0.0.1:8080/ http://127.0.0.1:8080/api/users
import type { Server } from 'node:http'
import { getRequestListener, serve } from '@hono/node-server'
import { handleUpgrades, proxyMiddleware } from 'heddle/hono'
import { mockBackend } from 'heddle/testing'
import { Hono } from 'hono'
import { cors } from 'hono/cors'

const backend = await mockBackend() // responds with the method and path of the request
const api = proxyMiddleware({ target: backend.url, routes: [{ path: '/api', stripPrefix: '/api' }] })

const app = new Hono()
app.use(cors())
app.get('/', (c) => c.text('the application\n'))
app.all('/api/*', api) // the backend sees /users, not /api/users

const options = { fetch: app.fetch, port: Number(process.env.PORT ?? 8080), hostname: '127.0.0.1' }
const server = serve(options, ({ port }) => console.log(`listening on http://127.0.0.1:${port}`)) as Server
handleUpgrades(server, getRequestListener(app.fetch)) // WebSockets go through the application, too

async function stop(): Promise<void> {
  server.close()
  await api.proxy.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
