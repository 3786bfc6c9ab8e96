import type { Plugin, PreviewServer, ViteDevServer, Logger as ViteLogger } from 'vite'
import { type HttpServer, handleUpgrades, type Logger } from '../index.ts'
import { checkedOptions, type ProxyMiddlewareOptions, proxyOf } from './proxy-of.ts'

export type { ProxyMiddlewareOptions }

/**
 * A plugin for Vite 6 and later, in place of `server.proxy` and `preview.proxy`:
 * `plugins: [proxyPlugin({ target: 'http://127.0.0.1:3001', routes: [{ path: '/api' }] })]`. What `routes` match goes to the backend, after
 * Vite's checks (CORS, allowed hosts; in Vite 6 before these) and before its own files and its fallback to index.html; WebSockets take the
 * same way, except for those of Vite's own hot reload. The proxy logs to Vite's logger. It is made when a server starts, and closes with
 * it; a proxy that you have given does neither. With `server.middlewareMode` WebSockets are for your server: `proxy.attach(server)`.
 */
export function proxyPlugin(given: ProxyMiddlewareOptions): Plugin {
  const options = checkedOptions(given)
  const listen = ({ config, httpServer, middlewares }: ViteDevServer | PreviewServer): void => {
    const { proxy, handle } = proxyOf(
      options.proxy === undefined ? { ...options, logger: options.logger ?? loggerOf(config.logger) } : options,
    )
    // The hook is called after Vite's checks, and before anything else of Vite's is added.
    middlewares.use(handle)
    if (httpServer === null) return
    // Through Vite's checks, too. Its own listener responds at once to what is for it, which is then left alone.
    handleUpgrades(httpServer as HttpServer, middlewares)
    if (options.proxy === undefined) httpServer.once('close', () => void proxy.close())
  }
  return { name: 'heddle', configureServer: listen, configurePreviewServer: listen }
}

function loggerOf(vite: ViteLogger): Logger {
  const write =
    (level: 'info' | 'warn' | 'error') =>
    (
      fields: { readonly method?: unknown; readonly target?: unknown; readonly hint?: unknown; readonly err?: unknown },
      message: string,
    ): void => {
      const { method, target, hint, err } = fields
      const request = method === undefined ? '' : ` (${method} ${target})`
      const advice = hint === undefined ? '' : `; ${hint}`
      vite[level](`[heddle] ${message}${request}${advice}`, {
        timestamp: true,
        ...(err instanceof Error && { error: err }),
      })
    }
  return { debug() {}, info: write('info'), warn: write('warn'), error: write('error') }
}
