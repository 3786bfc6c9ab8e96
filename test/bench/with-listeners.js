import http from 'node:http'
import { backends } from './arguments.js'
import { inTurn, serve } from './serve.js'

/** Serves a ProxyServer as applications use it: a header set in `proxyReq`, and one in `proxyRes`. */
export function serveWithListeners(proxy, facts) {
  const nextTarget = inTurn(backends)
  proxy.on('proxyReq', (proxyReq) => proxyReq.setHeader('X-Request', '1'))
  proxy.on('proxyRes', (proxyRes) => {
    proxyRes.headers['x-response'] = '1'
  })
  proxy.on('error', (_error, _req, res) => {
    if (res instanceof http.ServerResponse) res.writeHead(502).end()
    else res.destroy()
  })
  serve((req, res) => proxy.web(req, res, { target: nextTarget() }), facts)
}
