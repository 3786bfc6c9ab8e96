import type { ExchangeView } from '../model/exchange-view.ts'
import type { HeaderView } from '../model/header-view.ts'

/** The request on its way to a backend. */
export interface OutgoingRequest {
  /** May be replaced, except for an upgrade; TRACE and CONNECT are refused. */
  method: string
  /** Path and query; may be replaced. Starts with `/` (or is `*` for OPTIONS). */
  path: string
  readonly headers: HeaderView
}

/** The response on its way to the client. */
export interface OutgoingResponse {
  status: number
  readonly headers: HeaderView
}

/** Changes the heads of requests and responses. Synchronous. An error that it throws ends the exchange with 500 (`ERR_PROXY_HOOK`). */
export interface Transform {
  /** Stable label for logs. */
  readonly name: string
  /** Called once per exchange, before anything is sent to a backend. */
  request?(request: OutgoingRequest, exchange: ExchangeView): void
  /** Called before any part of the response is sent to the client. */
  response?(response: OutgoingResponse, exchange: ExchangeView): void
}
