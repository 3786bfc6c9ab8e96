import type { ExchangeView } from '../model/exchange-view.ts'
import type { RequestHead } from '../model/message.ts'
import type { BodySource, ResponseSink } from './pool.ts'

/**
 * Responds to a request by calling `sink`. The innermost handler of a route, inside all interceptors, sends the request to a backend.
 * `body` is `null` if there is none.
 */
export type Handler = (
  exchange: ExchangeView,
  request: RequestHead,
  body: BodySource | null,
  sink: ResponseSink,
) => void

/**
 * Runs between a route and its backends. It may call `next` later (such as after a call to another service), respond itself by
 * calling `sink`, change the request, wrap `sink` (to see or rewrite the response) or `body`, and call `next` more than once.
 *
 * If it changes a body, it must set `bodyBytes: -1` (or the new length) and drop the headers that describe the old bytes. While no
 * attempt runs, it may take `timeouts.intercept`. An exception, a rejection, or a response that is not valid HTTP ends the
 * exchange with 500 (`ERR_PROXY_HOOK`). After `exchange.signal` is aborted, its calls have no effect. Rules: docs/interceptors.md.
 */
export interface Interceptor {
  /** Stable label for logs. */
  readonly name: string
  /** Creates the handler. Called once for each route that has the interceptor, when the route is created. */
  wrap(next: Handler): Handler | ((...args: Parameters<Handler>) => Promise<void>)
}
