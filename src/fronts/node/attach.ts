import type http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type https from 'node:https'
import type { Duplex } from 'node:stream'
import { filterUpgrades } from '../node-internals.ts'
import { endAfter, isUpgradeNotTaken } from './front.ts'
import { protocolsOf } from './upgrade.ts'

type UpgradeListener = (req: IncomingMessage, socket: Duplex, head: Buffer) => void

/** On our listeners: whether it would take a request. Shared with other copies of this package. */
const TAKES = Symbol.for('heddle.takes-upgrade')
type OurListener = UpgradeListener & { readonly [TAKES]: (req: IncomingMessage) => boolean }

/**
 * Serves the upgrades of `server`. What `takes` does not want is left to the server's other listeners; where they are
 * all proxies like this one, and none wants it, the first one answers it: otherwise nobody ever would.
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
 * If node asks (from 22.21 and 24.9 on), what is not to be switched stays an ordinary request from the start, with its body;
 * the connection ends with its response, also if the application gives it.
 */
function keepOrdinary(server: http.Server | https.Server): void {
  if (!filterUpgrades(server, (req) => protocolsOf(req).length > 0)) return
  const end = (req: IncomingMessage, res: ServerResponse): void => {
    if (isUpgradeNotTaken(req)) endAfter(req, res)
  }
  for (const event of ['request', 'checkContinue']) {
    // node sends 100 by itself only while nobody listens to this.
    if (server.listenerCount(event) > 0) server.prependListener(event, end)
  }
}
