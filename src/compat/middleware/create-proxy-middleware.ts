import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:net'
import type { Duplex } from 'node:stream'
import { ProxyServer, type ServerOptions } from '../http-proxy/index.ts'
import { respondToError } from './error-response.ts'
import { isFirstUpgrade, takeConnection } from './first-upgrade.ts'
import { type ReadArguments, readArguments } from './legacy.ts'
import { silent } from './logger.ts'
import { HttpProxyMiddlewareError } from './middleware-error.ts'
import { pathMatcher } from './path-filter.ts'
import { pathRewriter } from './path-rewrite.ts'
import { pluginsOf } from './plugins.ts'
import { targetRouter } from './router.ts'
import { takesUpgrades } from './takes-upgrades.ts'
import type { Filter, NextFunction, Options, RequestHandler } from './types.ts'

/**
 * Creates a middleware that proxies requests, with the API of http-proxy-middleware 4 and 3. Names and arguments of version 2 are
 * accepted, with a deprecation warning. It has one proxy, with connections that are kept; the proxy ends with the last server that
 * has used the middleware.
 * @throws HttpProxyMiddlewareError without `target` and `router`, and for an invalid `pathFilter` or `pathRewrite`.
 */
export function createProxyMiddleware<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
  TNext extends (error?: unknown) => void = NextFunction,
>(options: Options<TReq, TRes>): RequestHandler<TReq, TRes, TNext>
/** @deprecated The filter is the option `pathFilter` since version 3. */
export function createProxyMiddleware<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
  TNext extends (error?: unknown) => void = NextFunction,
>(filter: Filter<TReq>, options?: Options<TReq, TRes>): RequestHandler<TReq, TRes, TNext>
export function createProxyMiddleware<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
  TNext extends (error?: unknown) => void = NextFunction,
>(first: Options<TReq, TRes> | Filter<TReq>, second?: Options<TReq, TRes>): RequestHandler<TReq, TRes, TNext> {
  return create(readArguments(first, second))
}

/**
 * The adapter of http-proxy-middleware 3 for code of version 2.
 * @deprecated `createProxyMiddleware` accepts such code, unless only the mount path tells the versions apart.
 */
export function legacyCreateProxyMiddleware<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
>(first: Options<TReq, TRes> | Filter<TReq>, second?: Options<TReq, TRes>): RequestHandler<TReq, TRes> {
  return create(readArguments(first, second, true))
}

function create<TReq extends IncomingMessage, TRes extends ServerResponse, TNext extends (error?: unknown) => void>({
  options,
  sendsMountPath,
}: ReadArguments<TReq, TRes>): RequestHandler<TReq, TRes, TNext> {
  if (!options.target && !options.router) {
    throw new HttpProxyMiddlewareError(
      'Missing "target" option. Example: {target: "http://www.example.org"}',
      'ERR_CONFIG_FACTORY_TARGET_MISSING',
    )
  }
  const takes = pathMatcher(options.pathFilter)
  const router = targetRouter(options.router)
  const rewrite = pathRewriter(options.pathRewrite)
  const logger = options.logger ?? silent
  const proxy = new ProxyServer({})
  for (const plugin of pluginsOf(options)) plugin(proxy, options)
  const servers = new Set<Server>()
  const upgraded = new WeakSet<IncomingMessage>()

  function isTaken(req: TReq): boolean {
    try {
      return takes === null || takes(req)
    } catch (error) {
      logger.error(error)
      return false
    }
  }

  /** What is the same for each request: without a router and a rewriter that is everything. */
  const fixed = router === null && rewrite === null ? reachable({ ...options }) : null

  /** Applies `router`, then `pathRewrite`; the options of the call. */
  async function prepare(req: TReq, res: TRes | undefined): Promise<Options<TReq, TRes>> {
    const own = { ...options }
    const target = await router?.(req, res, own)
    if (target) own.target = target
    if (!own.target && !own.forward) throw new Error('Must provide a proper URL as target')
    const path = req.url ? await rewrite?.(req.url, req, res, own) : undefined
    if (typeof path === 'string') req.url = path
    return reachable(own)
  }

  const middleware = async (req: TReq, res: TRes, next?: TNext): Promise<void> => {
    const { url } = req
    const upgrades = options.ws === true && isFirstUpgrade(req)
    // Listeners of upgrades know nothing of mount paths.
    if (sendsMountPath || upgrades) req.url = (req as { originalUrl?: string }).originalUrl ?? url
    watch(serverOf(req))
    if (!isTaken(req)) {
      req.url = url
      return next?.()
    }
    const taken = upgrades ? await takeConnection(req, res) : null
    if (taken !== null) return carryUpgrade(req, taken, Buffer.alloc(0))
    const fail = (error: unknown): void => {
      if (next) next(error)
      else respondToError(error, req, res)
    }
    let own = fixed
    try {
      own ??= await prepare(req, res)
    } catch (error) {
      return fail(error)
    }
    await proxy.web(req, res, own as ServerOptions, (error, _req, _res, target) => {
      if (proxy.listenerCount('error') > 0) proxy.emit('error', error, req, res, target)
      else fail(error)
    })
  }

  async function carryUpgrade(req: TReq, socket: Duplex, head: Buffer): Promise<void> {
    // The application may have subscribed `upgrade`, too.
    if (upgraded.has(req)) return
    upgraded.add(req)
    // Without a listener, an error of the socket while we wait would end the process.
    socket.on('error', (error) => logger.error(error))
    try {
      const own = fixed ?? (await prepare(req, undefined))
      await proxy.ws(req, socket, head, own as ServerOptions)
    } catch (error) {
      if (proxy.listenerCount('error') > 0) proxy.emit('error', error as Error, req, socket as never)
      socket.destroy()
    }
  }

  const upgrade = takesUpgrades(isTaken, carryUpgrade)

  /** Ends the proxy with the last server, and subscribes to upgrades. */
  function watch(server: Server | undefined): void {
    if (server === undefined || servers.has(server)) return
    servers.add(server)
    const isUpgrading = options.ws === true
    if (isUpgrading) server.on('upgrade', upgrade)
    server.once('close', () => {
      servers.delete(server)
      if (isUpgrading) server.off('upgrade', upgrade)
      if (servers.size === 0) proxy.close()
    })
  }

  return Object.assign(middleware, { upgrade })
}

function serverOf(req: IncomingMessage): Server | undefined {
  return (req.socket as { server?: Server } | null)?.server
}

/** `[::]` is where servers listen; it is not an address to connect to. */
function reachable<Given extends Pick<ServerOptions, 'target' | 'forward'>>(options: Given): Given {
  for (const name of ['target', 'forward'] as const) {
    const target = options[name]
    if (typeof target !== 'string' && !(target instanceof URL)) continue
    const url = URL.parse(String(target))
    if (url?.hostname !== '[::]') continue
    url.hostname = '[::1]'
    options[name] = url
  }
  return options
}
