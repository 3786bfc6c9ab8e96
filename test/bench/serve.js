import http from 'node:http'
import { announce, endWithParent } from './announce.js'

/** The addresses that a subject is started with: `node test/bench/subjects/NAME.js http://127.0.0.1:3001 ...`. */
export const backends = process.argv.slice(2)

/** A function that gives the items in turn: the least that balances, for proxies that have no balancer. */
export function inTurn(items) {
  let last = -1
  return () => {
    last = (last + 1) % items.length
    return items[last]
  }
}

/** Puts the subject's handler into a plain node:http server on a port of the system's choice, and tells it. */
export function serve(handler, facts) {
  endWithParent()
  const server = http.createServer(handler)
  server.listen(0, '127.0.0.1', 4096, () => announce({ port: server.address().port, ...facts }))
}
