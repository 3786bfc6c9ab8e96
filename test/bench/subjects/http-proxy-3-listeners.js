import http from 'node:http'
import { createProxyServer } from 'http-proxy-3'
import { versionOf } from '../version.js'
import { serveWithListeners } from '../with-listeners.js'

const proxy = createProxyServer({ agent: new http.Agent({ keepAlive: true }) })
serveWithListeners(proxy, { version: versionOf('http-proxy-3') })
