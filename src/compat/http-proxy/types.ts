import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Stream } from 'node:stream'
import type { Logger } from '../../index.ts'

/** A target in parts, as http-proxy, http-proxy-3 and httpxy take it. An object of `url.parse()` fits. */
export interface ProxyTargetDetailed {
  /** Host, with or without the port. */
  host?: string | null | undefined
  port?: number | string | null | undefined
  /** With or without its colon. Default `http:`. */
  protocol?: string | null | undefined
  /** Host without the port; before {@link host}. */
  hostname?: string | null | undefined
  pathname?: string | null | undefined
  search?: string | null | undefined
  /** Path of a unix socket; before the host. */
  socketPath?: string | undefined
  /** Key of {@link cert}, PEM. */
  key?: string | Buffer | undefined
  /** Client certificate, PEM. */
  cert?: string | Buffer | undefined
  /** Certificate authorities to trust instead of the built-in ones, PEM. */
  ca?: string | Buffer | undefined
  pfx?: Buffer | string | undefined
  passphrase?: string | undefined
  ciphers?: string | undefined
  secureProtocol?: string | undefined
}

export type ProxyTargetUrl = string | URL | ProxyTargetDetailed
export type ProxyTarget = ProxyTargetUrl
export type ProxyTargetFunction = (req: IncomingMessage) => ProxyTarget

/** How to call `fetch`; see the README of http-proxy-3, which carries these calls. */
export interface FetchOptions {
  requestOptions?: RequestInit | undefined
  onBeforeRequest?(
    requestOptions: RequestInit,
    req: IncomingMessage,
    res: ServerResponse,
    options: NormalizedServerOptions,
  ): void | Promise<void>
  onAfterResponse?(
    response: Response,
    req: IncomingMessage,
    res: ServerResponse,
    options: NormalizedServerOptions,
  ): void | Promise<void>
}

/**
 * The options of http-proxy, http-proxy-3 and httpxy, for a proxy and for each of its calls, where they override those of the
 * proxy. docs/migrating.md says what differs. Calls with `agent`, `toProxy`, `fetch`, `fetchOptions`,
 * `localAddress`, or a target with `pfx`, `passphrase`, `ciphers` or `secureProtocol` are carried by http-proxy-3.
 */
export interface ServerOptions {
  /** Where requests go: a URL, its parts, or a function of the request. */
  target?: ProxyTarget | ProxyTargetFunction | undefined
  /** Where a copy of each request goes; its response is dropped. Without `target` the client gets an empty 200 at once. */
  forward?: ProxyTargetUrl | undefined
  /** Agent for `http.request`. Not needed to keep connections alive. */
  agent?: unknown
  /** For `listen()`: options of a TLS server. It serves HTTP/2 and HTTP/1.1. */
  ssl?: object | undefined
  /** For `listen()`: serve WebSockets, too. Default `false`. */
  ws?: boolean | undefined
  /** For `listen()`, as httpxy has it: without `ssl` an error. HTTP/2 is served in any case. */
  http2?: boolean | undefined
  /** Append to `X-Forwarded-For`, `-Port` and `-Proto`, and set `-Host`. Those of the client are believed. Default `false`. */
  xfwd?: boolean | undefined
  /** With {@link xfwd}: `X-Forwarded-Proto` of a WebSocket is `http` or `https`, not `ws` or `wss`. Default `false`. */
  xfwdWsProtoAsHttp?: boolean | undefined
  /** Verify the certificate of a target. Default `true`. */
  secure?: boolean | undefined
  /** Send the whole URL of the request as its path. */
  toProxy?: boolean | undefined
  /** Put the target's path before the request's. Default `true`. */
  prependPath?: boolean | undefined
  /** Do not send the request's own path and query. Default `false`. */
  ignorePath?: boolean | undefined
  /** Local address to connect from. */
  localAddress?: string | undefined
  /** Send the target's host as `Host`. Default `false`. */
  changeOrigin?: boolean | undefined
  /** No effect: the case of names is always kept. */
  preserveHeaderKeyCase?: boolean | undefined
  /** `user:password` for `Authorization: Basic`; replaces the client's. */
  auth?: string | undefined
  /** Host for `Location` of a 201, 301, 302, 307 or 308 that leads to the target. */
  hostRewrite?: string | undefined
  /** The same with the host that the client has asked for. Default `false`. */
  autoRewrite?: boolean | undefined
  /** Protocol for the same: `http` or `https`. */
  protocolRewrite?: string | null | undefined
  /** Domain of cookies: one for all (empty: none), or by the old domain, `*` for any other. Default `false`: unchanged. */
  cookieDomainRewrite?: false | string | { [oldDomain: string]: string } | undefined
  /** Path of cookies, likewise. */
  cookiePathRewrite?: false | string | { [oldPath: string]: string } | undefined
  /** Headers to send to the target; `undefined` removes one. */
  headers?: { [header: string]: string | string[] | undefined } | undefined
  /** Limit on silence of the target, ms: until its response, and within it. Default: none. */
  proxyTimeout?: number | undefined
  /** Limit on silence of the client's connection, ms. Default: that of the server. */
  timeout?: number | undefined
  /** Limit on connecting to the target, ms. Default: that of the system. */
  connectTimeout?: number | undefined
  /**
   * Follow redirects of the target to itself, this many at most, up to 100 (`true`: 21). The client gets all others: the originals
   * also follow those to other servers. Default `false`.
   */
  followRedirects?: boolean | number | undefined
  /** The application responds, in a `proxyRes` listener. Default `false`. */
  selfHandleResponse?: boolean | undefined
  /** Body to send instead of the request's own. */
  buffer?: Stream | undefined
  /** Method to send instead of the request's own. */
  method?: string | undefined
  /** Certificate authorities to trust instead of the built-in ones, PEM. */
  ca?: string | Buffer | undefined
  /** Use this `fetch`. */
  fetch?: typeof fetch | undefined
  fetchOptions?: FetchOptions | undefined
  /** Not in the originals: where failures go that nobody handles. Default: standard error. */
  logger?: Logger | undefined
}

/** Options of one call: a function for the target has been called, and URLs have been parsed. */
export interface NormalizedServerOptions extends ServerOptions {
  target?: URL | ProxyTargetDetailed
  forward?: URL | ProxyTargetDetailed
}

/** Called with a failure. `res` is the socket for a WebSocket. */
export type ErrorCallback<
  TIncomingMessage extends typeof IncomingMessage = typeof IncomingMessage,
  TServerResponse extends typeof ServerResponse = typeof ServerResponse,
  TError = Error,
> = (
  err: TError,
  req: InstanceType<TIncomingMessage>,
  res: InstanceType<TServerResponse> | Socket,
  target?: ProxyTargetUrl,
) => void

/** The events, with the arguments of http-proxy-3. */
export type ProxyServerEvents<
  TIncomingMessage extends typeof IncomingMessage = typeof IncomingMessage,
  TServerResponse extends typeof ServerResponse = typeof ServerResponse,
  TError = Error,
> = {
  /** A request failed, or a WebSocket. The listener responds. */
  error: Parameters<ErrorCallback<TIncomingMessage, TServerResponse, TError>>
  /** A request begins. */
  start: [req: InstanceType<TIncomingMessage>, res: InstanceType<TServerResponse>, target: ProxyTargetUrl]
  /** A WebSocket is open; `socket` is the connection to the target. */
  open: [socket: Socket]
  /** Before anything is sent. `proxyReq` is an {@link OutgoingRequest}; `socket` is `undefined`: there is none yet. */
  proxyReq: [
    proxyReq: ClientRequest,
    req: InstanceType<TIncomingMessage>,
    res: InstanceType<TServerResponse>,
    options: ServerOptions,
    socket: Socket,
  ]
  /** The target has responded. `proxyRes` is a {@link ProxyResponse}. */
  proxyRes: [
    proxyRes: InstanceType<TIncomingMessage>,
    req: InstanceType<TIncomingMessage>,
    res: InstanceType<TServerResponse>,
  ]
  /** Before the handshake of a WebSocket is sent. */
  proxyReqWs: [
    proxyReq: ClientRequest,
    req: InstanceType<TIncomingMessage>,
    socket: Socket,
    options: ServerOptions,
    head: Buffer,
  ]
  /** The client has gone before it had a response. */
  econnreset: [
    err: Error,
    req: InstanceType<TIncomingMessage>,
    res: InstanceType<TServerResponse>,
    target: ProxyTargetUrl,
  ]
  /** The response of the target is complete. */
  end: [
    req: InstanceType<TIncomingMessage>,
    res: InstanceType<TServerResponse>,
    proxyRes: InstanceType<TIncomingMessage>,
  ]
  /** The connection of a WebSocket to the target is over. */
  close: [proxyRes: InstanceType<TIncomingMessage>, proxySocket: Socket, proxyHead: Buffer]
}
