import type { ExchangeView } from '../model/exchange-view.ts'

/**
 * An exchange for tests of policies: `GET /` of `localhost` from 127.0.0.1 without headers, on its first attempt, without
 * time limits, with a signal that is never aborted, and with a single route. `header()` reads the given headers.
 * @param partial overrides properties.
 */
export function exchangeView(partial: Partial<ExchangeView> = {}): ExchangeView {
  const headers = partial.headers ?? []
  return {
    id: 1,
    method: 'GET',
    target: '/',
    path: partial.target ?? '/',
    host: 'localhost',
    protocol: 'http',
    clientAddress: '127.0.0.1',
    clientCertificate: null,
    headers,
    group: 'default',
    attempts: 1,
    isRetry: false,
    backend: null,
    timeouts: { connect: 0, acquire: 0, headers: 0, idle: 0, total: 0, upgradeIdle: 0, intercept: 0 },
    context: undefined,
    upgrade: null,
    signal: new AbortController().signal,
    header(name) {
      for (let at = 0; at + 1 < headers.length; at += 2) {
        if (headers[at]?.toLowerCase() === name) return headers[at + 1]
      }
      return undefined
    },
    takesSameRoute: () => true,
    ...partial,
  }
}
