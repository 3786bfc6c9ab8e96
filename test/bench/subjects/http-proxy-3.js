import http from 'node:http'
import { createProxyServer } from 'http-proxy-3'
import { backends, inTurn, serve } from '../serve.js'
import { versionOf } from '../version.js'

const proxy = createProxyServer({ agent: new http.Agent({ keepAlive: true }) })
proxy.on('error', (_error, _req, res) => res.writeHead?.(502).end())
const nextTarget = inTurn(backends)
serve((req, res) => proxy.web(req, res, { target: nextTarget() }), { version: versionOf('http-proxy-3') })
