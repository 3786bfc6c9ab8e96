import type { ExchangeView } from '../model/exchange-view.ts'
import type { RequestHead } from '../model/message.ts'
import type { BodySource, ResponseSink } from './pool.ts'

/**
 * Responds to a request by calling `sink`. The last one of a route, inside of all interceptors, sends the request to a backend.
 * `body` is `null` if there is none.
 */
export type Handler = (
  exchange: ExchangeView,
  request: RequestHead,
  body: BodySource | null,
  sink: ResponseSink,
) => void

/**
 * Stands between a route and its backends. It may call `next` later (after it has asked somebody), respond itself by calling
 * `sink`, change the request, wrap `sink` (to see or rewrite the response) or `body`, and call `next` again.
 *
 * If it changes a body it sets `bodyBytes: -1` (or the new length) and drops the headers that describe the old bytes. While no
 * backend is asked it may take `timeouts.intercept`. An exception, a rejection, and a response that is not valid HTTP end the
 * exchange with 500 (`ERR_PROXY_HOOK`). After `exchange.signal` is aborted its calls have no effect. The rules: docs/interceptors.md.
 */
export interface Interceptor {
  /** Stable label for logs. */
  readonly name: string
  /** Called once for each route that has it, when the route is made. */
  wrap(next: Handler): Handler | ((...args: Parameters<Handler>) => Promise<void>)
}
