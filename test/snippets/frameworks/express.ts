import express from 'express'
import { handleUpgrades, proxyMiddleware } from 'heddle/express'
import type { Given, Started } from './given.ts'

export function start({ target, port }: Given): Started {
  const app = express()
  const api = proxyMiddleware({ target })
  app.use('/api', api)
  const server = app.listen(port)
  handleUpgrades(server, app)
  return { server, proxies: [api.proxy], close: () => server.close() }
}
