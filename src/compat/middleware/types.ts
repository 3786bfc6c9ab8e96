import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { ProxyServer, ProxyTarget, ServerOptions } from '../http-proxy/index.ts'

/**
 * A function whose parameters may be narrower than declared, as those of methods may: functions that are typed by
 * http-proxy-middleware, whose options differ in details, are accepted.
 */
type Callback<Args extends unknown[], Result> = { call(...args: Args): Result }['call']

export type NextFunction<T = (error?: unknown) => void> = T

/** A middleware for connect, Express, Next.js and the like, and a listener of node:http servers. */
export interface RequestHandler<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
  TNext = NextFunction,
> {
  /**
   * Resolves when the response is over, or `next` has been called. Never rejects. Without `next`, a request that the filter does not
   * take is left without a response.
   */
  (req: TReq, res: TRes, next?: TNext): Promise<void>
  /** Serves upgrades that the filter takes: `server.on('upgrade', middleware.upgrade)`. Mount paths do not apply. */
  upgrade: (req: TReq, socket: Socket, head: Buffer) => void
}

/**
 * Which requests are proxied: those whose path begins with a text, matches a glob, or for which a function returns true. A glob with
 * three wildcards or more in one segment (`*a*b*c`) can take seconds for a path that somebody has made for it: use a function.
 */
export type Filter<TReq extends IncomingMessage = IncomingMessage> =
  | string
  | readonly string[]
  | ((pathname: string, req: TReq) => boolean | string | RegExpMatchArray | null)

/** Subscribes to the events of a proxy when a middleware is made. */
export type Plugin<TReq extends IncomingMessage = IncomingMessage, TRes extends ServerResponse = ServerResponse> = (
  proxyServer: ProxyServer,
  options: Options<TReq, TRes>,
) => void

/** A plugin that is typed by http-proxy-middleware, whose proxy is of another class. */
type ForeignPlugin = (proxyServer: never, options: never) => void

/** Listeners of the proxy's events. A promise that one of them returns may reject: that is an `error` event. */
export interface OnProxyEvent<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
> {
  /** Responds in place of the default error response. Of an upgrade it gets the client's socket in place of `res`. */
  error?(error: Error, req: TReq, res: TRes | Socket, target?: ProxyTarget): void
  /** Before a request is sent: `proxyReq` takes changes of its headers, a body, and `destroy(error)`. */
  proxyReq?(proxyReq: ClientRequest, req: TReq, res: TRes, options: ServerOptions): void
  proxyReqWs?(proxyReq: ClientRequest, req: TReq, socket: Socket, options: ServerOptions, head: Buffer): void
  /** When a response has begun, before its head is sent on. With `selfHandleResponse` the listener responds. */
  proxyRes?(proxyRes: TReq, req: TReq, res: TRes): void | Promise<void>
  open?(proxySocket: Socket): void
  close?(proxyRes: TReq, proxySocket: Socket, proxyHead: Buffer): void
  start?(req: TReq, res: TRes, target: ProxyTarget): void
  end?(req: TReq, res: TRes, proxyRes: TReq): void
  econnreset?(error: Error, req: TReq, res: TRes, target: ProxyTarget): void
}

/** `console`, winston, pino, and others: called with a format (`%s`, `%o`) and its values. */
export type Logger = Pick<Console, 'info' | 'warn' | 'error'>

type Rewrite<TReq extends IncomingMessage, TRes extends ServerResponse, Result> = Callback<
  [path: string, req: TReq, res?: TRes | undefined, options?: Options<TReq, TRes>],
  Result
>

/**
 * A table of regular expressions and replacements, of which the first match counts; or a function: `undefined` keeps the path. It
 * gets no `res` for an upgrade.
 */
export type PathRewriteConfig<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
> =
  | { [regexp: string]: string }
  | Rewrite<TReq, TRes, string | undefined>
  | Rewrite<TReq, TRes, Promise<string | undefined>>

type Route<TReq extends IncomingMessage, TRes extends ServerResponse, Result> = Callback<
  [req: TReq, res: TRes | undefined, options: Options<TReq, TRes>],
  Result
>

/** Options of http-proxy-middleware 4 and 3, those of `heddle/http-proxy`, and the deprecated names of version 2. */
export interface Options<TReq extends IncomingMessage = IncomingMessage, TRes extends ServerResponse = ServerResponse>
  extends Omit<ServerOptions, 'logger'>,
    DeprecatedOptions<TReq, TRes> {
  /** Default: every request. Others go to the next middleware. The path has no mount path and no query. */
  pathFilter?: Filter<TReq> | undefined
  /** Changes `req.url` after {@link router} has seen it. */
  pathRewrite?: PathRewriteConfig<TReq, TRes> | undefined
  /** Called with the proxy when the middleware is made, after the default plugins. */
  plugins?: (Plugin<TReq, TRes> | ForeignPlugin)[] | undefined
  /** Leaves out the default plugins: without `on`, log and error response. Errors go to the next middleware then. Default false. */
  ejectPlugins?: boolean | undefined
  on?: OnProxyEvent<TReq, TRes> | undefined
  /**
   * Target by `host:port`, `host:port/path` or `/path`, the first match counts; or a function, which gets no `res` for an upgrade.
   * Without a match `target` is used.
   */
  router?:
    | Record<string, ProxyTarget>
    | Route<TReq, TRes, ProxyTarget | undefined>
    | Route<TReq, TRes, Promise<ProxyTarget | undefined>>
    | undefined
  /** Default: nothing is logged. */
  logger?: Logger | undefined
}

/** The names of http-proxy-middleware 2. */
export interface DeprecatedOptions<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
> {
  /** @deprecated Use `on.error`. */
  onError?: OnProxyEvent<TReq, TRes>['error'] | undefined
  /** @deprecated Use `on.proxyReq`. */
  onProxyReq?: OnProxyEvent<TReq, TRes>['proxyReq'] | undefined
  /** @deprecated Use `on.proxyReqWs`. */
  onProxyReqWs?: OnProxyEvent<TReq, TRes>['proxyReqWs'] | undefined
  /** @deprecated Use `on.proxyRes`. */
  onProxyRes?: OnProxyEvent<TReq, TRes>['proxyRes'] | undefined
  /** @deprecated Use `on.open`. */
  onOpen?: OnProxyEvent<TReq, TRes>['open'] | undefined
  /** @deprecated Use `on.close`. */
  onClose?: OnProxyEvent<TReq, TRes>['close'] | undefined
  /** @deprecated Use `logger`. Requests are logged on level `debug`. Default: `info`. */
  logLevel?: 'debug' | 'info' | 'warn' | 'error' | 'silent' | undefined
  /** @deprecated Use `logger`. */
  logProvider?: ((provider: Logger) => Logger & Partial<Pick<Console, 'debug' | 'log'>>) | undefined
}
