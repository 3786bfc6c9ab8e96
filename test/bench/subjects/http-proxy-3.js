import http from 'node:http'
import { createProxyServer } from 'http-proxy-3'
import { backends } from '../arguments.js'
import { inTurn, serve } from '../serve.js'
import { versionOf } from '../version.js'

const proxy = createProxyServer({ agent: new http.Agent({ keepAlive: true }) })
proxy.on('error', (_error, _req, res) => {
  if (res instanceof http.ServerResponse) res.writeHead(502).end()
  else res.destroy()
})
const nextTarget = inTurn(backends)
serve(
  (req, res) => proxy.web(req, res, { target: nextTarget() }),
  { version: versionOf('http-proxy-3') },
  // Without the agent: an upgraded connection does not come back to it.
  (req, socket, head) => proxy.ws(req, socket, head, { target: nextTarget(), agent: undefined }),
)
