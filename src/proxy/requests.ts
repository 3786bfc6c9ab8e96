import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Core } from '../exchange/services.ts'
import type { Route } from '../exchange/snapshot.ts'
import { attachUpgrades } from '../fronts/node/attach.ts'
import { receivedHost } from '../fronts/node/received-headers.ts'
import { createUpgrades, type OrdinaryHandler, type Upgrades } from '../fronts/node/upgrade.ts'
import { serveWeb, type WebCall } from '../fronts/node/web.ts'
import { peerLookup } from '../fronts/peer.ts'
import { destroyGuarded } from '../fronts/tcp.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { ProxyGroups } from './assemble.ts'
import { isOverrides, resolveOverrides } from './overrides.ts'
import type { CallOverrides, HttpServer, Middleware, MiddlewareOptions, Proxy } from './types.ts'

/** Receives requests and upgrades from node:http servers: the application's, and those of the proxy's own listeners. */
export class Requests {
  readonly #core: Core
  readonly #groups: ProxyGroups
  readonly #attached = new WeakSet<HttpServer>()
  #upgrades: Upgrades | null = null
  /** Looks up the facts about a client's connection. */
  readonly peerOf: ReturnType<typeof peerLookup>

  constructor(core: Core, groups: ProxyGroups) {
    this.#core = core
    this.#groups = groups
    this.peerOf = peerLookup((address) => core.snapshot.forwarding.isTrusted(address))
  }

  readonly web: Proxy['web'] = (req, res, overrides) => {
    try {
      const call = isOverrides(overrides)
        ? { ...resolveOverrides(this.#core, this.#groups, overrides, 'web'), body: overrides.body }
        : null
      serveWeb(this.#core, this.peerOf(req.socket), req, res, call)
    } catch (error) {
      this.#logFault(error)
      destroyGuarded(res)
    }
  }

  readonly ws: Proxy['ws'] = (req, socket, head, overrides) =>
    this.upgrade(req, socket, head, overrides, (request, response) => this.web(request, response, overrides))

  /** Serves an upgrade request. Never throws. @param ordinary serves a request whose upgrade is ignored. */
  upgrade(
    req: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    overrides: CallOverrides | undefined,
    ordinary: OrdinaryHandler,
  ): void {
    try {
      this.#upgrades ??= createUpgrades(this.#core)
      const call = isOverrides(overrides) ? resolveOverrides(this.#core, this.#groups, overrides, 'ws') : null
      this.#upgrades.serve(this.peerOf(req.socket), req, socket, head, call, ordinary)
    } catch (error) {
      this.#logFault(error)
      destroyGuarded(socket)
    }
  }

  /** The route that matches a request; `null` if none does. */
  match(req: IncomingMessage): Route | null {
    const { method = 'GET', url = '/' } = req
    const { host, isHostSet } = receivedHost(req)
    return this.#core.snapshot.router.resolve(method, url, host, isHostSet).route
  }

  attach(server: HttpServer): void {
    if (this.#attached.has(server)) return
    this.#attached.add(server)
    if (server.listenerCount('request') === 0) server.on('request', this.web).on('checkContinue', this.web)
    attachUpgrades(
      server,
      (req) => this.match(req) !== null,
      (req, socket, head) =>
        this.upgrade(req, socket, head, undefined, (request, response) => server.emit('request', request, response)),
    )
  }

  middleware({ passErrors = false }: MiddlewareOptions = {}): Middleware {
    return (req, res, next) => {
      const route = this.match(req)
      if (route === null) return next()
      const call: WebCall = { routeFor: () => route, context: { req, res }, ...(passErrors && { onError: next }) }
      serveWeb(this.#core, this.peerOf(req.socket), req, res, call)
    }
  }

  /** Asks WebSockets to close. */
  goAway(): void {
    this.#upgrades?.goAway()
  }

  /** Ends upgraded connections. */
  destroy(): void {
    this.#upgrades?.destroy()
  }

  /** Logs an error of the proxy itself, or of code that an application has wrapped around its request or response. */
  #logFault(error: unknown): void {
    this.#core.services.logger.error({ err: error }, `a request could not be carried: ${describeError(error)}`)
  }
}
