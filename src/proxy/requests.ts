import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ExchangeCall } from '../exchange/call.ts'
import type { Core } from '../exchange/services.ts'
import type { Route } from '../exchange/snapshot.ts'
import { giveBackToApplication, takeFromApplication } from '../fronts/node/app-upgrades.ts'
import { receivedHost } from '../fronts/node/received-headers.ts'
import { createUpgrades, type OrdinaryHandler, type Upgrades } from '../fronts/node/upgrade.ts'
import { assertServer, attachUpgrades, returnUpgrade, takeUpgrade } from '../fronts/node/upgrade-listeners.ts'
import { serveWeb } from '../fronts/node/web.ts'
import type { WebCall } from '../fronts/node/web-body.ts'
import { peerLookup } from '../fronts/peer.ts'
import { destroyGuarded } from '../fronts/tcp.ts'
import type { ProxyError } from '../model/errors.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { ProxyGroups } from './assemble.ts'
import { isOverrides, resolveOverrides } from './overrides.ts'
import type { HttpServer, Middleware, MiddlewareOptions, Proxy } from './types.ts'

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
      const upgrade = takeFromApplication(req)
      if (upgrade !== null) return this.ws(req, upgrade.socket, upgrade.head, overrides)
      const call = isOverrides(overrides)
        ? { ...resolveOverrides(this.#core, this.#groups, overrides, 'web'), body: overrides.body }
        : null
      serveWeb(this.#core, this.peerOf(req.socket), req, res, call)
    } catch (error) {
      this.#logFault(error)
      destroyGuarded(res)
    }
  }

  readonly ws: Proxy['ws'] = (req, socket, head, overrides) => {
    try {
      const call = isOverrides(overrides) ? resolveOverrides(this.#core, this.#groups, overrides, 'ws') : null
      this.upgrade(req, socket, head, call, (request, response) => this.web(request, response, overrides))
    } catch (error) {
      this.#logFault(error)
      destroyGuarded(socket)
    }
  }

  /** Serves an upgrade request. Never throws. @param ordinary serves a request whose upgrade is ignored. */
  upgrade(
    req: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    call: ExchangeCall | null,
    ordinary: OrdinaryHandler,
  ): void {
    try {
      if (!takeUpgrade(req)) return this.#standAside(req)
      const onError = call?.onError
      const own = onError && {
        ...call,
        onError(error: ProxyError) {
          // The application responds itself, or asks another proxy.
          returnUpgrade(req)
          giveBackToApplication(req)
          return onError(error)
        },
      }
      this.#upgrades ??= createUpgrades(this.#core)
      this.#upgrades.serve(this.peerOf(req.socket), req, socket, head, own ?? call, ordinary)
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
    assertServer('attach', server)
    if (this.#attached.has(server)) return
    this.#attached.add(server)
    if (server.listenerCount('request') === 0) server.on('request', this.web).on('checkContinue', this.web)
    attachUpgrades(
      server,
      this.#core.services.clock,
      (req) => this.match(req) !== null,
      (req, socket, head) =>
        this.upgrade(req, socket, head, null, (request, response) => server.emit('request', request, response)),
      (req) => this.#noteRefused(req),
    )
  }

  middleware({ passErrors = false }: MiddlewareOptions = {}): Middleware {
    return (req, res, next) => {
      const route = this.match(req)
      if (route === null) return next()
      const call: WebCall = { routeFor: () => route, context: { req, res }, ...(passErrors && { onError: next }) }
      const upgrade = takeFromApplication(req)
      if (upgrade !== null) return this.upgrade(req, upgrade.socket, upgrade.head, call, this.web)
      serveWeb(this.#core, this.peerOf(req.socket), req, res, call)
    }
  }

  /** Two responses to one upgrade would reach the client as invalid frames. */
  #standAside({ url }: IncomingMessage): void {
    const message = `the upgrade of ${url} has been taken by another proxy, or an earlier call: one server has several for the same path`
    this.#core.services.logger.warn({ target: url }, `${message}; give each of them paths of its own`)
  }

  /** A WebSocketServer of ws with `path` refuses everything else on its server. */
  #noteRefused({ url }: IncomingMessage): void {
    const message = `the upgrade of ${url} has been refused by another 'upgrade' listener of the server, though a route matches it`
    const advice =
      'a WebSocketServer of ws with { server, path } refuses every other path: create it with { noServer: true }'
    this.#core.services.logger.warn({ target: url }, `${message}; ${advice}`)
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
