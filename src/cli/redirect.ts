import {
  createProxy,
  type ExchangeView,
  type Interceptor,
  type Proxy,
  type ProxyOptions,
  requestHook,
} from '../index.ts'

/**
 * A proxy without backends that sends every request to the same host and path by https. It has the limits, the access log and the
 * graceful close of the proxy beside it.
 * @param port of the https listener.
 * @param first what responds before that.
 */
export function redirectToHttps(
  port: number,
  first: readonly Interceptor[],
  { accessLog, logger, limits, drainTimeoutMs }: ProxyOptions,
): Proxy {
  return createProxy({
    backends: [],
    routes: [{ interceptors: [...first, requestHook((_request, exchange) => redirection(exchange, port))] }],
    ...(accessLog !== undefined && { accessLog }),
    ...(logger !== undefined && { logger }),
    ...(limits !== undefined && { limits }),
    ...(drainTimeoutMs !== undefined && { drainTimeoutMs }),
  })
}

/**
 * 308 keeps method and body, where clients make a GET of a POST after 301. Without a host there is nowhere to send the client; a host
 * that is not valid was refused before.
 */
function redirection({ host, path }: ExchangeView, port: number): Response {
  const name = host.replace(/:\d*$/, '')
  const location = `https://${name}${port === 443 ? '' : `:${port}`}${path}`
  if (name === '' || !path.startsWith('/')) {
    return new Response('400 Bad Request\n', { status: 400, headers: { 'content-type': 'text/plain; charset=utf-8' } })
  }
  return new Response(null, { status: 308, headers: { location } })
}
