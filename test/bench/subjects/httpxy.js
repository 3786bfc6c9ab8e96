import http from 'node:http'
import { createProxyServer } from 'httpxy'
import { backends } from '../arguments.js'
import { inTurn, serve } from '../serve.js'
import { versionOf } from '../version.js'

const proxy = createProxyServer({ agent: new http.Agent({ keepAlive: true }) })
const nextTarget = inTurn(backends)

function forward(req, res) {
  proxy.web(req, res, { target: nextTarget() }).catch(() => {
    if (res.headersSent) res.destroy()
    else res.writeHead(502).end()
  })
}

function upgrade(req, socket, head) {
  proxy.ws(req, socket, { target: nextTarget(), agent: undefined }, head).catch(() => socket.destroy())
}

serve(forward, { version: versionOf('httpxy') }, upgrade)
