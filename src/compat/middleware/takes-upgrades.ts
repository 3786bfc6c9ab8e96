import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

type UpgradeListener<TReq extends IncomingMessage> = (req: TReq, socket: Duplex, head: Buffer) => unknown

/** Key on listeners of proxies: whether the listener would take a request. `proxy.attach()` uses it, too. */
const TAKES = Symbol.for('heddle.takes-upgrade')

/**
 * A listener of `upgrade` events that serves what `takes` accepts, and leaves the rest to the server's other listeners. If all
 * listeners are proxies and none takes the request, the first one refuses it: otherwise it would wait for ever.
 */
export function takesUpgrades<TReq extends IncomingMessage>(
  takes: (req: TReq) => boolean,
  serve: UpgradeListener<TReq>,
): UpgradeListener<TReq> {
  const listener: UpgradeListener<TReq> = (req, socket, head) => {
    // Node has removed its own handler: without one, a reset would end the process.
    socket.on('error', () => {})
    if (takes(req)) serve(req, socket, head)
    else if (isLeft(req)) refuse(socket)
  }
  function isLeft(req: TReq): boolean {
    const all = listenersOf(req)
    return all[0] === listener && all.every((one) => one[TAKES]?.(req) === false)
  }
  return Object.assign(listener, { [TAKES]: takes })
}

/** Whether nobody but proxies listens to the upgrades of the request's server. */
export function isOnlyForProxies(req: IncomingMessage): boolean {
  return listenersOf(req).every((one) => TAKES in one)
}

type Listener = { readonly [TAKES]?: (req: IncomingMessage) => boolean }

function listenersOf(req: IncomingMessage): Listener[] {
  const { server } = req.socket as { server?: NodeJS.EventEmitter }
  return (server?.listeners('upgrade') ?? []) as Listener[]
}

function refuse(socket: Duplex): void {
  socket.once('finish', () => socket.destroy())
  socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
}
