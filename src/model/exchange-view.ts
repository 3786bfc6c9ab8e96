import type { X509Certificate } from 'node:crypto'
import type { Backend } from './backend.ts'

/** A flat list of headers: `[name, value, name, value]`. It keeps the case of names, the order and duplicates. */
export type HeaderList = string[]

/** Time limits of an exchange, ms; 0: no limit. */
export interface Timeouts {
  readonly connect: number
  readonly acquire: number
  readonly headers: number
  readonly idle: number
  readonly total: number
  readonly upgradeIdle: number
  readonly intercept: number
}

/** A request in progress, as policies see it. */
export interface ExchangeView {
  /** Number of the exchange in its proxy, from 1. */
  readonly id: number
  readonly method: string
  /** Path and query as received, or as the application has set them in `req.url`. */
  readonly target: string
  /**
   * Path and query as the proxy has read them, before the route's transforms: what a guard has to look at. If routes look at paths, dot
   * segments are resolved, and encoded slashes treated as `routing.encodedSlashes` says. Empty before a route is looked for.
   */
  readonly path: string
  /** `Host` as received, or as the application has set it; empty for none. */
  readonly host: string
  /** How the client is connected; from X-Forwarded-Proto if the peer is a trusted proxy, or if the application has set it. */
  readonly protocol: 'http' | 'https'
  /**
   * Address of the client: the peer's, or that from X-Forwarded-For if the peer is a trusted proxy. May be empty for a unix socket.
   * `unknown` if the client closed its connection before the address was asked for.
   */
  readonly clientAddress: string
  /**
   * The client's certificate, if a listener with `clientAuth` has verified one; otherwise `null`. What the client itself has sent as
   * `Client-Cert` says nothing.
   */
  readonly clientCertificate: X509Certificate | null
  /** Headers as received, with the application's changes to `req.headers`. Do not write. */
  readonly headers: Readonly<HeaderList>
  /** Name of the matched route's group; `default` for the unnamed one. */
  readonly group: string
  /** Attempts begun so far. While a balancer picks, the new attempt is not counted yet. */
  readonly attempts: number
  /** The latest attempt repeats one that has failed. A further request of an interceptor (a redirect) repeats none. */
  readonly isRetry: boolean
  /** Backend of the latest attempt; `null` before the first one. */
  readonly backend: Backend | null
  /** The time limits of this exchange. */
  readonly timeouts: Timeouts
  /** Aborted when the exchange needs no response any more. Created on first use: not for the hot path. */
  readonly signal: AbortSignal
  /** The protocols that the client asks to switch to (`websocket`), as in `Upgrade`; `null` for an ordinary request. */
  readonly upgrade: string | null
  /**
   * Whatever the caller of `proxy.web` or `proxy.ws` has passed as `context`. `proxy.middleware()` and the adapters pass
   * `{ req, res }`. Otherwise `undefined`.
   */
  readonly context: unknown
  /** First value of a header, by lower-case name. */
  header(name: string): string | undefined
  /**
   * Whether another request of this client would take the same route, such as for the target of a redirect. If it would not, that
   * route's interceptors may have to see it.
   */
  takesSameRoute(method: string, target: string): boolean
}
