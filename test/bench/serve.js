import http from 'node:http'
import https from 'node:https'
import { announce, endWithParent } from './announce.js'
import { tls } from './arguments.js'

/** As long as nginx's default: node's own 5 s would end idle connections while they are being counted. */
const KEEP_ALIVE_MS = 75_000

/** A function that gives the items in turn: the least that balances, for proxies that have no balancer. */
export function inTurn(items) {
  let last = -1
  return () => {
    last = (last + 1) % items.length
    return items[last]
  }
}

/** Puts the subject's handlers into a plain server of node's on a port of the system's choice, and tells it. */
export function serve(handler, facts, onUpgrade) {
  endWithParent()
  const server = tls === undefined ? http.createServer(handler) : https.createServer(tls, handler)
  server.keepAliveTimeout = KEEP_ALIVE_MS
  if (onUpgrade !== undefined) server.on('upgrade', onUpgrade)
  server.listen(0, '127.0.0.1', 4096, () => announce({ port: server.address().port, ...facts }))
}
