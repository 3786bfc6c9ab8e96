import { handleUpgrades, proxyMiddleware } from 'heddle/koa'
import Koa from 'koa'
import type { Given, Started } from './given.ts'

export function start({ target, port }: Given): Started {
  const app = new Koa()
  const api = proxyMiddleware({ target, routes: [{ path: '/api', stripPrefix: '/api' }] })
  app.use(api)
  const server = app.listen(port)
  handleUpgrades(server, app.callback())
  return { server, proxies: [api.proxy], close: () => server.close() }
}
