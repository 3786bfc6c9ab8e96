import httpProxy from '@fastify/http-proxy'
import Fastify from 'fastify'
import { announce, endWithParent } from '../announce.js'
import { backends, tls } from '../arguments.js'
import { inTurn } from '../serve.js'
import { versionOf } from '../version.js'

endWithParent()
const app = Fastify({ https: tls ?? null })
app.register(httpProxy, { upstream: '', websocket: true, replyOptions: { getUpstream: inTurn(backends) } })
await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
announce({ port: app.server.address().port, version: versionOf('@fastify/http-proxy') })
