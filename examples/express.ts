// Express (4 or 5): the proxy mounted under a path, failures to the application's error handler, WebSocket under the same path.
// Run: npm run build && node dist/examples/express.js
// Try: curl http://127.0.0.1:8080/ http://127.0.0.1:8080/api/users
import type { AddressInfo } from 'node:net'
import express, { type ErrorRequestHandler } from 'express'
import { handleUpgrades, proxyMiddleware } from 'heddle/express'
import { mockBackend } from 'heddle/testing'

const backend = await mockBackend() // responds with the method and path of the request
const api = proxyMiddleware({ target: backend.url, passErrors: true })

const onError: ErrorRequestHandler = (error, _req, res, _next) => {
  res.status(error.status ?? 500).json({ code: error.code }) // ERR_PROXY_...
}

const app = express()
app.use(express.json()) // the proxy sends a body that was read here again
app.use('/api', api) // the backend sees /users, not /api/users
app.get('/', (_req, res) => void res.send('the application\n'))
app.use(onError)

const server = app.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
handleUpgrades(server, app) // WebSockets go through the application, too

async function stop(): Promise<void> {
  server.close()
  await api.proxy.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
