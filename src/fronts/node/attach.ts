import type http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type https from 'node:https'
import type { Duplex } from 'node:stream'
import { filterUpgrades } from '../node-internals.ts'
import { endAfter, isUpgradeNotTaken } from './front.ts'
import { protocolsOf } from './upgrade.ts'

type UpgradeListener = (req: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Key on our listeners: whether the listener would take a request. Shared with other copies of this package. */
const TAKES = Symbol.for('heddle.takes-upgrade')
type OurListener = UpgradeListener & { readonly [TAKES]: (req: IncomingMessage) => boolean }

/**
 * Serves the upgrades of `server`. Requests that `takes` rejects are left to the server's other listeners. If all listeners are
 * proxies like this one and none takes the request, the first one serves it: otherwise nobody would respond.
 */
export function attachUpgrades(
  server: http.Server | https.Server,
  takes: (req: IncomingMessage) => boolean,
  serve: UpgradeListener,
): void {
  const listener: OurListener = Object.assign(
    ((req, socket, head) => {
      const all = server.listeners('upgrade') as UpgradeListener[]
      const ours = all.filter(isOurs)
      const isLeft = all.length === ours.length && ours[0] === listener && !ours.some((other) => other[TAKES](req))
      if (takes(req) || isLeft) serve(req, socket, head)
    }) as UpgradeListener,
    { [TAKES]: takes },
  )
  server.on('upgrade', listener)
  keepOrdinary(server)
}

function isOurs(listener: UpgradeListener): listener is OurListener {
  return TAKES in listener
}

/**
 * From 22.21 and 24.9 on, node asks whether to switch. A request that is not switched then stays an ordinary request from the
 * start, with its body. The connection ends with its response, even if the application gives the response.
 */
function keepOrdinary(server: http.Server | https.Server): void {
  if (!filterUpgrades(server, (req) => protocolsOf(req).length > 0)) return
  const end = (req: IncomingMessage, res: ServerResponse): void => {
    if (isUpgradeNotTaken(req)) endAfter(req, res)
  }
  for (const event of ['request', 'checkContinue']) {
    // A first 'checkContinue' listener would stop node from sending 100 by itself.
    if (server.listenerCount(event) > 0) server.prependListener(event, end)
  }
}
