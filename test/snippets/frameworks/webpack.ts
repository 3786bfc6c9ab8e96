import type { Server } from 'node:http'
import { handleUpgrades, proxyMiddleware } from 'heddle/express'
import webpack from 'webpack'
import WebpackDevServer, { type Configuration } from 'webpack-dev-server'
import type { Given, Started } from './given.ts'

export async function start({ target, port, root }: Given): Promise<Started> {
  const api = proxyMiddleware({ target })
  const devServer: Configuration = {
    setupMiddlewares(middlewares) {
      middlewares.unshift({ name: 'api', path: '/api', middleware: api })
      return middlewares
    },
    onListening({ server, app }) {
      if (server && app) handleUpgrades(server, app)
    },
  }
  const compiler = webpack({
    mode: 'development',
    context: root,
    entry: './main.js',
    infrastructureLogging: { level: 'none' },
    stats: 'none',
  })
  const dev = new WebpackDevServer({ ...devServer, port, static: false, webSocketServer: 'ws' }, compiler as never)
  await dev.start()
  return { server: dev.server as Server, proxies: [api.proxy], close: () => dev.stop() }
}
