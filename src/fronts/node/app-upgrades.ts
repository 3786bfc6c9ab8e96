import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Server as NetServer, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '../../runtime/clock.ts'
import { emitDrain, responseFor, sendOn } from '../node-internals.ts'
import { isEnding } from './front.ts'
import { linger } from './linger.ts'
import { afterEarlierResponse } from './pipeline.ts'
import { protocolsOf, serveOrdinary } from './upgrade.ts'
import { MAX_EARLY_BYTES, releaseUpgrade } from './upgrade-front.ts'
import {
  afterOthers,
  applicationOf,
  assertServer,
  holdConnection,
  isTaken,
  kindOf,
  listenToUpgrades,
  type Server,
  takeUpgrade,
  unlessResponded,
} from './upgrade-listeners.ts'

/** Key on a request that an application gets for an upgrade. Shared with other copies of this package. */
const UPGRADE = Symbol.for('heddle.application-upgrade')

/** The connection of an upgrade, as node's 'upgrade' event gives it. */
export interface UpgradeConnection {
  readonly socket: Duplex
  readonly head: Buffer
}

/**
 * Runs the upgrades (WebSockets) of a server through `app`, as node runs its requests: a middleware of a proxy that gets one carries
 * it, under the mount path and behind the guards (sessions, authentication) of ordinary requests. What the application responds itself,
 * such as its 401 or 404, is sent, and ends the connection. If the server has 'upgrade' listeners of others (such as `ws` or socket.io), the
 * application's response waits until they have kept silent for 10 s; upgrades to which they respond at once never reach it. If it throws
 * or rejects, the client gets 500, and the error is left to the process, as it is for requests. A second call with the same application
 * does nothing.
 * @param server any of node's HTTP servers; one of HTTP/2 has upgrades if it allows HTTP/1.1.
 * @param app what node's 'request' event calls: an Express application, `app.callback()` of Koa, `fastify.routing`.
 * @returns it.
 * @throws Error if the upgrades of the server go through another application. TypeError if `server` or `app` is something else.
 */
export function handleUpgrades<S extends NetServer>(
  server: S,
  app: (req: IncomingMessage, res: ServerResponse) => unknown,
  clock: Clock = systemClock,
): S {
  assertServer('handleUpgrades', server)
  if (typeof app !== 'function') {
    const common = 'app of Express, app.callback() of Koa, fastify.routing, getRequestListener(app.fetch) of Hono'
    throw new TypeError(`handleUpgrades: the application is ${kindOf(app)}; give a function (req, res): ${common}`)
  }
  const ours = server as unknown as Server
  const before = applicationOf(ours)
  if (before === app) return server
  if (before !== undefined) {
    const advice = 'call it once, with the outermost application'
    throw new Error(`handleUpgrades: the upgrades of this server go through another application already; ${advice}`)
  }
  listenToUpgrades(
    ours,
    () => true,
    (req, socket, head) => {
      const serve = (): void => {
        if (socket.destroyed || isEnding(req.socket) || isTaken(req)) return
        if (protocolsOf(req).length === 0) serveOrdinary(req, socket, head, app)
        else new ApplicationUpgrade(ours, req, socket, head, clock).run(app)
      }
      unlessResponded(socket, () => afterEarlierResponse(req.socket, socket, serve))
    },
    app,
  )
  return server
}

/**
 * The upgrade that a request stands for, taken from the application, whose response is then not sent.
 * @returns `null` if there is none, or the application has begun to respond.
 */
export function takeFromApplication(req: IncomingMessage): UpgradeConnection | null {
  return (req as { [UPGRADE]?: ApplicationUpgrade })[UPGRADE]?.take() ?? null
}

/** Ends {@link takeFromApplication}: the application may respond after all. Does nothing if the upgrade was not taken from one. */
export function giveBackToApplication(req: IncomingMessage): void {
  ;(req as { [UPGRADE]?: ApplicationUpgrade })[UPGRADE]?.giveBack()
}

/** One upgrade on its way through an application. */
class ApplicationUpgrade implements UpgradeConnection {
  readonly socket: Duplex
  readonly #server: Server
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #clock: Clock
  #early: Buffer[]
  #earlyBytes = 0
  /** No other listener of the server wants the connection. */
  #isFree = false
  #state: 'open' | 'taken' | 'responding' = 'open'
  readonly #onEarly = (chunk: Buffer): void => {
    this.#early.push(chunk)
    this.#earlyBytes += chunk.length
    if (this.#earlyBytes >= MAX_EARLY_BYTES) this.socket.pause()
  }
  /** A client that ends its side before it has its response has gone. node's server treats it the same way. */
  readonly #onEnd = (): void => void this.socket.destroy()

  constructor(server: Server, req: IncomingMessage, socket: Duplex, head: Buffer, clock: Clock) {
    this.socket = socket
    this.#server = server
    this.#req = req
    this.#clock = clock
    this.#early = [head]
    const res = responseFor(req)
    this.#res = res
    const { writeHead } = res
    res.writeHead = (...args: unknown[]) => {
      this.#respond()
      return Reflect.apply(writeHead, res, args)
    }
    // Without a connection node would wait for one.
    res.destroy = (error) => {
      if (this.#state !== 'taken') socket.destroy()
      return ServerResponse.prototype.destroy.call(res, error) as typeof res
    }
    socket.once('close', () => {
      // Otherwise node does it.
      if (res.socket === null) res.emit('close')
    })
  }

  run(app: Parameters<typeof handleUpgrades>[1]): void {
    ;(this.#req as { [UPGRADE]?: ApplicationUpgrade })[UPGRADE] = this
    holdConnection(this.socket)
    afterOthers(this.#server, this.#req, this.socket, this.#clock, (isFree) => {
      if (isFree) this.#onFree()
    })
    const onThrown = (thrown: unknown): never => {
      if (!this.#res.headersSent) this.#res.writeHead(500).end()
      else this.socket.destroy()
      throw thrown
    }
    try {
      const result = app(this.#req, this.#res)
      if (result instanceof Promise) result.catch(onThrown)
    } catch (thrown) {
      onThrown(thrown)
    }
  }

  get head(): Buffer {
    return Buffer.concat(this.#early)
  }

  take(): UpgradeConnection | null {
    if (this.#state === 'responding') return null
    // A second proxy logs that it stands aside.
    if (this.#state === 'taken') return this
    this.#state = 'taken'
    // For logs of the application: it does not learn of a refusal.
    this.#res.statusCode = 101
    this.socket.pause().off('data', this.#onEarly).off('end', this.#onEnd)
    return this
  }

  giveBack(): void {
    if (this.#state !== 'taken') return
    this.#state = 'open'
    this.#isFree = true
    this.#res.statusCode = 200
    releaseUpgrade(this.socket)
    this.#read()
  }

  /** No other listener of the server wants the connection. */
  #onFree(): void {
    this.#isFree = true
    if (this.#state === 'responding') this.#send()
    else if (this.#state === 'open') this.#read()
  }

  /** Reads: the end of the connection is noticed only then. */
  #read(): void {
    this.socket.on('data', this.#onEarly).on('end', this.#onEnd).resume()
  }

  /** The application begins to respond. Until it has the connection, its response is held. */
  #respond(): void {
    if (this.#state !== 'open') return
    this.#state = 'responding'
    if (this.#isFree) this.#send()
  }

  #send(): void {
    if (!takeUpgrade(this.#req)) return
    const { socket } = this
    const res = this.#res
    res.on('error', ignore).on('finish', () => linger(socket, this.#clock))
    socket.on('drain', () => emitDrain(res))
    // Drop the client's bytes, but keep reading: its end must be noticed.
    socket.off('data', this.#onEarly).off('end', this.#onEnd).resume()
    this.#early = []
    sendOn(socket as Socket, res)
  }
}

function ignore(): void {}
