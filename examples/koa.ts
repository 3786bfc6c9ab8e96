// Koa: requests that a route matches are proxied, all others go to the application.
// Run: npm run build && node dist/examples/koa.js
// Try: curl -i http://127.0.0.1:8080/ http://127.0.0.1:8080/api/users
import type { AddressInfo } from 'node:net'
import { handleUpgrades, proxyMiddleware } from 'heddle/koa'
import { mockBackend } from 'heddle/testing'
import Koa from 'koa'

const backend = await mockBackend() // responds with the method and path of the request
const api = proxyMiddleware({ target: backend.url, routes: [{ path: '/api', stripPrefix: '/api' }] })

const app = new Koa()
app.use(async (ctx, next) => {
  const start = performance.now()
  await next() // resolves when the response is complete
  console.log(`${ctx.method} ${ctx.url} ${ctx.status} ${Math.round(performance.now() - start)} ms`)
})
app.use(api)
app.use((ctx) => {
  ctx.body = 'the application\n'
})

const server = app.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
handleUpgrades(server, app.callback()) // WebSockets go through the application, too

async function stop(): Promise<void> {
  server.close()
  await api.proxy.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
