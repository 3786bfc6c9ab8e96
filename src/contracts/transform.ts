import type { ExchangeView } from '../model/exchange-view.ts'

/**
 * A small mutable view on a flat header list; names are matched without regard to case. Headers of the connection and of framing
 * (RESERVED in headers/facts.ts) can be read, but the proxy writes them itself.
 */
export interface HeaderView {
  get(name: string): string | undefined
  getAll(name: string): string[]
  has(name: string): boolean
  /** Replaces all of that name. @throws TypeError for a name or value that cannot stand in a head, and for a reserved name. */
  set(name: string, value: string): void
  /** Adds one more. @throws TypeError likewise. */
  append(name: string, value: string): void
  /** Removes all of that name; has no effect on a reserved one. */
  delete(name: string): void
  entries(): IterableIterator<[name: string, value: string]>
}

/** The request on its way to a backend. */
export interface OutgoingRequest {
  readonly method: string
  /** Path and query; may be replaced. Starts with `/` (or is `*` for OPTIONS). */
  path: string
  readonly headers: HeaderView
}

/** The response on its way to the client. */
export interface OutgoingResponse {
  status: number
  readonly headers: HeaderView
}

/** Changes heads on their way through. Synchronous. What it throws ends the exchange with 500 (`ERR_PROXY_HOOK`). */
export interface Transform {
  /** Stable label for logs. */
  readonly name: string
  /** Before anything is sent to a backend; once an exchange. */
  request?(request: OutgoingRequest, exchange: ExchangeView): void
  /** Before anything of the response is sent to the client. */
  response?(response: OutgoingResponse, exchange: ExchangeView): void
}
