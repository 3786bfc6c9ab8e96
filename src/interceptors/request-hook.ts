import type { Interceptor } from '../contracts/interceptor.ts'
import type { ResponseSink } from '../contracts/pool.ts'
import { headerView } from '../headers/view.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { HeaderView } from '../model/header-view.ts'
import { isPromise } from '../runtime/callbacks.ts'
import { optionError, shown } from './option-checks.ts'
import { BodySender } from './send-body.ts'
import { isResponse, openResponse, type ResponseLike } from './whatwg-response.ts'

const NAME = 'request-hook'

/** A request before it is sent on. What a {@link RequestHook} changes is sent. */
export interface HookRequest {
  method: string
  /** Path and query. Starts with `/`, or is `*`. */
  path: string
  readonly headers: HeaderView
  /** Name of the group to send it to. A hook may choose another one of the proxy's groups. */
  group: string
}

/**
 * Looks at a request before it is sent to a backend, and may change it. If it returns a `Response`, that is sent to the client in
 * place of a backend's; a WebSocket handshake is then refused. Called in the async context of the request; may take
 * `timeouts.intercept`. An error that it throws ends the exchange with 500 (`ERR_PROXY_HOOK`).
 */
export type RequestHook = (
  request: HookRequest,
  exchange: ExchangeView,
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing is a hook
) => ResponseLike | undefined | void | Promise<ResponseLike | undefined | void>

/**
 * An interceptor of one function, for authentication, sessions, and the choice of a group. A hook that is not async costs no promise.
 * @throws TypeError if `hook` is not a function.
 */
export function requestHook(hook: RequestHook): Interceptor {
  if (typeof hook !== 'function') throw optionError(NAME, 'the hook', hook, 'a function of (request, exchange)')
  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) => {
      const headers = [...request.headers]
      const { method, path } = request
      const group = request.group ?? exchange.group
      const seen: HookRequest = { method, path, headers: headerView(headers), group }
      const goOn = (returned: unknown): void | Promise<void> => {
        if (returned !== undefined) return sendResponse(returned, exchange, sink)
        const chosen = seen.group === group ? {} : { group: seen.group }
        next(exchange, { ...request, method: seen.method, path: seen.path, headers, ...chosen }, body, sink)
      }
      const returned: unknown = hook(seen, exchange)
      return isPromise(returned) ? Promise.resolve(returned).then(goOn) : goOn(returned)
    },
  }
}

/** @throws TypeError if it is not a response that can be sent: the hook may have meant to refuse, so the request does not go on. */
function sendResponse(returned: unknown, exchange: ExchangeView, sink: ResponseSink): void | Promise<void> {
  if (!isResponse(returned)) {
    throw new TypeError(`the hook returned ${shown(returned)}; return a Response, or nothing to send the request on`)
  }
  const { head, reader } = openResponse(returned, exchange.method)
  const sender = new BodySender()
  sink.onHead(head, sender)
  return reader === null ? sink.onEnd(null) : sender.send(reader, sink, exchange.signal)
}
