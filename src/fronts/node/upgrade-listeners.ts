import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http'
import type { Server as HttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../runtime/clock.ts'
import { filterUpgrades } from '../node-internals.ts'
import { endAfter, isUpgradeNotTaken } from './front.ts'
import { protocolsOf } from './upgrade.ts'

/**
 * How several listeners share the upgrades of one server. node calls all of them for each upgrade, whoever responds. Ours know each
 * other by a key, and mark what they take. Of others we know nothing but what they do with the connection.
 */

/** Any of node's HTTP/1.1 servers. */
export type Server = HttpServer | HttpsServer

/** A listener of 'upgrade' events. */
export type UpgradeListener = (req: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Key on our listeners: whether the listener would respond to a request. Shared with other copies of this package. */
const TAKES = Symbol.for('heddle.takes-upgrade')
/** Key on a request whose upgrade a proxy has taken. Shared with other copies of this package. */
const TAKEN = Symbol.for('heddle.upgrade-taken')

/** Key on our listeners: the application that they run upgrades through. Shared with other copies of this package. */
const APPLICATION = Symbol.for('heddle.runs-application')

type OurListener = UpgradeListener & {
  readonly [TAKES]: (req: IncomingMessage) => boolean
  readonly [APPLICATION]?: unknown
}
type Marked = IncomingMessage & { [TAKEN]?: boolean }

/** How long the listeners of others may keep silent about an upgrade that no proxy takes, ms. */
const OTHERS_MS = 10_000

/** @throws TypeError if it is not one of node's servers: an application, which has listeners as well, would never call ours. */
export function assertServer(caller: string, server: unknown): void {
  const { address, listenerCount } = (server ?? {}) as { address?: unknown; listenerCount?: unknown }
  if (typeof address === 'function' && typeof listenerCount === 'function') return
  const example = 'one of node:http, such as that which app.listen(8080) returns'
  throw new TypeError(`${caller}: the server is ${kindOf(server)}; give ${example}`)
}

/** What a value is, in short: applications are too large to be shown. */
export function kindOf(value: unknown): string {
  if (typeof value === 'object' && value !== null) return 'another object'
  return typeof value === 'function' ? 'a function' : String(value)
}

/**
 * Listens to the upgrades of `server` as one of ours.
 * @param takes whether `serve` will respond to a request.
 * @param application see {@link applicationOf}.
 */
export function listenToUpgrades(
  server: Server,
  takes: (req: IncomingMessage) => boolean,
  serve: UpgradeListener,
  application?: unknown,
): void {
  const listener: OurListener = Object.assign(serve, { [TAKES]: takes, [APPLICATION]: application })
  server.on('upgrade', listener)
  keepOrdinary(server)
}

/**
 * Serves the upgrades of `server` that `takes` accepts, and leaves the others to its other listeners. If nobody responds to an
 * upgrade, the first proxy does: otherwise its client would wait for ever.
 * @param onRefused called if another listener has refused an upgrade that `takes` accepts.
 */
export function attachUpgrades(
  server: Server,
  clock: Clock,
  takes: (req: IncomingMessage) => boolean,
  serve: UpgradeListener,
  onRefused: (req: IncomingMessage) => void,
): void {
  const listener: UpgradeListener = (req, socket, head) => {
    if (takes(req)) {
      // The proxy logs that it stands aside.
      if (!takeUpgrade(req)) return serve(req, socket, head)
      const onFree = (): void => {
        returnUpgrade(req)
        holdConnection(socket)
        serve(req, socket, head)
      }
      return unlessResponded(socket, onFree, () => onRefused(req))
    }
    if (oursOf(server).some((one) => one[TAKES](req))) return
    afterOthers(server, req, socket, clock, (isFree) => {
      if (isFree) serve(req, socket, head)
    })
  }
  listenToUpgrades(server, takes, listener)
}

/**
 * Calls `then` when the server's listeners that are not ours had the time to respond to an upgrade: at once if there are none.
 * `isFree`: nobody has.
 */
export function afterOthers(
  server: Server,
  req: IncomingMessage,
  socket: Duplex,
  clock: Clock,
  then: (isFree: boolean) => void,
): void {
  if (!hasOthers(server)) return then(!isTaken(req))
  const before = bytesWritten(socket)
  // Node has removed its own handler: without one, a reset would end the process.
  socket.on('error', ignore)
  clock.schedule(OTHERS_MS, () => {
    then(!isTaken(req) && bytesWritten(socket) === before && !isInUse(socket) && socket.writable)
  })
}

/**
 * Calls `then` after all listeners of an 'upgrade' event have been called, unless one of them has responded at once, as `ws` and
 * socket.io do for their paths.
 * @param onRefused called instead if one of them has ended the connection.
 */
export function unlessResponded(socket: Duplex, then: () => void, onRefused: () => void = ignore): void {
  // Node has removed its own handler: without one, a reset would end the process.
  socket.on('error', ignore)
  process.nextTick(() => {
    if (socket.writableEnded) onRefused()
    else if (!isInUse(socket)) then()
  })
}

/**
 * Makes a connection count as written to. engine.io (socket.io) ends each connection on which nothing has been written 1 s after an
 * upgrade that is not for it, unless its option `destroyUpgrade` is false. Backends and guards may take longer.
 */
export function holdConnection(socket: Duplex): void {
  if (bytesWritten(socket) > 0) return
  const written = (): unknown => Reflect.get(Object.getPrototypeOf(socket), 'bytesWritten', socket)
  if (typeof written() !== 'number') return
  Object.defineProperty(socket, 'bytesWritten', { configurable: true, get: () => Math.max(1, Number(written() ?? 0)) })
}

/** The application that the upgrades of `server` go through; `undefined` if there is none. */
export function applicationOf(server: Server): unknown {
  return oursOf(server).find((one) => one[APPLICATION] !== undefined)?.[APPLICATION]
}

/** Whether `server` has 'upgrade' listeners that are not ours. */
function hasOthers(server: Server): boolean {
  return oursOf(server).length < server.listenerCount('upgrade')
}

/** Marks the upgrade as taken. @returns whether nobody had taken it. */
export function takeUpgrade(req: Marked): boolean {
  if (req[TAKEN] === true) return false
  req[TAKEN] = true
  return true
}

/** Whether a proxy has taken the upgrade. */
export function isTaken(req: Marked): boolean {
  return req[TAKEN] === true
}

/** Ends {@link takeUpgrade}: the application responds itself, or asks another proxy. */
export function returnUpgrade(req: Marked): void {
  req[TAKEN] = false
}

function oursOf(server: Server): OurListener[] {
  return (server.listeners('upgrade') as UpgradeListener[]).filter((one): one is OurListener => TAKES in one)
}

/** Whether somebody reads the connection. Node has removed its own listeners. */
function isInUse(socket: Duplex): boolean {
  return socket.listenerCount('data') + socket.listenerCount('readable') > 0
}

/** What an application uses as a socket may not count. */
function bytesWritten(socket: Duplex & { readonly bytesWritten?: number }): number {
  return socket.bytesWritten ?? 0
}

/**
 * From 22.21 and 24.9 on, node asks whether to switch. A request that is not switched then stays an ordinary request from the
 * start, with its body. The connection ends with its response, even if the application gives the response.
 */
function keepOrdinary(server: Server): void {
  if (!filterUpgrades(server, (req) => protocolsOf(req).length > 0)) return
  const end = (req: IncomingMessage, res: ServerResponse): void => {
    if (isUpgradeNotTaken(req)) endAfter(req, res)
  }
  for (const event of ['request', 'checkContinue']) {
    // A first 'checkContinue' listener would stop node from sending 100 by itself.
    if (server.listenerCount(event) > 0) server.prependListener(event, end)
  }
}

function ignore(): void {}
