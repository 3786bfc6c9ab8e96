import type { Plugin, PreviewServer, ViteDevServer, Logger as ViteLogger } from 'vite'
import type { HttpServer, Logger } from '../index.ts'
import { type ProxyMiddlewareOptions, proxyOf } from './proxy-of.ts'

export type { ProxyMiddlewareOptions }

/**
 * A plugin for Vite 5 and later, in place of `server.proxy` and `preview.proxy`:
 * `plugins: [proxyPlugin({ target: 'http://127.0.0.1:3001', routes: [{ path: '/api' }] })]`. What `routes` match goes to the backend, after
 * Vite's checks (CORS, allowed hosts) and before its own files and its fallback to index.html; WebSockets too, except for those
 * of Vite's own hot reload. The proxy logs to Vite's logger. It is made when a server starts, and closes with it; a proxy that you have given
 * does neither. With `server.middlewareMode` WebSockets are for your server: `proxy.attach(server)`.
 */
export function proxyPlugin(options: ProxyMiddlewareOptions): Plugin {
  const listen = (
    { config, httpServer, middlewares }: ViteDevServer | PreviewServer,
    https: object | undefined,
  ): void => {
    const { proxy, handle } = proxyOf(
      options.proxy === undefined ? { ...options, logger: options.logger ?? loggerOf(config.logger) } : options,
    )
    // The hook is called after Vite's checks, and before anything else of Vite's is added.
    middlewares.use(handle)
    if (httpServer === null) return
    if (https !== undefined && !('ALPNCallback' in https)) config.logger.warn(HTTP2, { timestamp: true })
    // Vite's own listener was added before. It responds at once to what is for it, which is then left alone.
    proxy.attach(httpServer as HttpServer)
    if (options.proxy === undefined) httpServer.once('close', () => void proxy.close())
  }
  return {
    name: 'heddle',
    config({ server, preview }) {
      // `preview.https` is that of the server unless it is set.
      return {
        ...(server?.https && { server: { https: { ALPNCallback: http1 } } }),
        ...(preview?.https && { preview: { https: { ALPNCallback: http1 } } }),
      }
    },
    configureServer: (server) => listen(server, server.config.server.https),
    configurePreviewServer: (server) => listen(server, server.config.preview.https),
  }
}

const HTTP2 =
  '[heddle] a plugin has turned on https, and with it HTTP/2, which the proxy does not speak (400); add server: { https: {} } to the configuration, so that the server speaks HTTP/1.1'

/** Chooses HTTP/1.1, where Vite's server would choose HTTP/2. */
function http1({ protocols }: { readonly protocols: string[] }): string | undefined {
  return protocols.find((protocol) => protocol === 'http/1.1')
}

function loggerOf(vite: ViteLogger): Logger {
  const write =
    (level: 'info' | 'warn' | 'error') =>
    (
      fields: { readonly method?: unknown; readonly target?: unknown; readonly err?: unknown },
      message: string,
    ): void => {
      const { method, target, err } = fields
      const request = method === undefined ? '' : ` (${method} ${target})`
      vite[level](`[heddle] ${message}${request}`, { timestamp: true, ...(err instanceof Error && { error: err }) })
    }
  return { debug() {}, info: write('info'), warn: write('warn'), error: write('error') }
}
