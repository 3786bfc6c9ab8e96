/** Headers as they travel: `[name, value, name, value]`, names as received, order and duplicates kept. */
export type HeaderList = string[]

/** Time limits of an exchange, ms; 0: none. */
export interface Timeouts {
  readonly connect: number
  readonly acquire: number
  readonly headers: number
  readonly idle: number
  readonly total: number
  readonly upgradeIdle: number
  readonly intercept: number
}

/** What policies may know of the request that is being served. */
export interface ExchangeView {
  /** Distinguishes exchanges of one proxy in logs; counts up from 1. */
  readonly id: number
  readonly method: string
  /** Path and query as received, or as the application has left them in `req.url`. */
  readonly target: string
  /** `Host` as received, or as the application has set it; empty for none. */
  readonly host: string
  /** Address of the peer, or empty where it has none (a unix socket). */
  readonly clientAddress: string
  /** Headers as received, with what the application has changed in `req.headers`. Do not write. */
  readonly headers: Readonly<HeaderList>
  /** Name of the matched route's group; `default` for the unnamed one. */
  readonly group: string
  /** Tries begun so far; while a balancer picks, those before this one. */
  readonly attempts: number
  /** The limits that apply to it. */
  readonly timeouts: Timeouts
  /** Aborted when the exchange needs no answer any more. Made on first use: not for the hot path. */
  readonly signal: AbortSignal
  /** The protocols that the client asks to switch to (`websocket`), as in `Upgrade`; `null` for an ordinary request. */
  readonly upgrade: string | null
  /** First value of a header, by lower-case name. */
  header(name: string): string | undefined
}
