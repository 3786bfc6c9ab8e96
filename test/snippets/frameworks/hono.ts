import type { Server } from 'node:http'
import { getRequestListener, serve } from '@hono/node-server'
import { handleUpgrades, proxyMiddleware } from 'heddle/hono'
import { Hono } from 'hono'
import type { Given, Started } from './given.ts'

export function start({ target, port }: Given): Started {
  const app = new Hono()
  const api = proxyMiddleware({ target, routes: [{ path: '/api', stripPrefix: '/api' }] })
  app.all('/api/*', api)
  const server = serve({ fetch: app.fetch, port })
  handleUpgrades(server, getRequestListener(app.fetch))
  return { server: server as Server, proxies: [api.proxy], close: () => server.close() }
}
