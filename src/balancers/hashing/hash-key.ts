import type { ExchangeView } from '../../model/exchange-view.ts'
import { assertSync } from '../../runtime/callbacks.ts'

/**
 * The key of an exchange:
 * - `client-address`: the peer's address. Behind another proxy this is the same address for all clients.
 * - `path`: the path without the query.
 * - `{ header }`: the first value of that header.
 * - `{ cookie }`: the value of that cookie.
 * - a function of yours. It runs on the hot path, so it must be fast. It returns `undefined` for "no key". If it throws,
 *   or returns anything but a string or `undefined`, the exchange fails with ERR_PROXY_HOOK (500).
 */
export type HashBy =
  | 'client-address'
  | 'path'
  | { header: string }
  | { cookie: string }
  | ((exchange: ExchangeView) => string | undefined)

/** Makes the function that reads the key of an exchange. @throws TypeError for anything but a {@link HashBy}. */
export function hashKey(by: HashBy): (exchange: ExchangeView) => string | undefined {
  if (typeof by === 'function') return (exchange) => checkKey(by(exchange))
  if (by === 'client-address') return (exchange) => exchange.clientAddress
  if (by === 'path') return pathOf
  if (typeof by === 'object' && by !== null && Object.keys(by).length === 1) {
    if ('header' in by && isName(by.header)) {
      const name = by.header.toLowerCase()
      return (exchange) => exchange.header(name)
    }
    if ('cookie' in by && isName(by.cookie)) {
      const { cookie } = by
      return (exchange) => cookieOf(exchange.header('cookie'), cookie)
    }
  }
  throw new TypeError(
    `consistent-hash: cannot hash by ${JSON.stringify(by)}; ` +
      `use 'client-address', 'path', { header: 'x-user' }, { cookie: 'session' } or a function of the exchange`,
  )
}

function checkKey(key: unknown): string | undefined {
  if (key === undefined || typeof key === 'string') return key
  assertSync(key)
  throw new TypeError(
    `the hash key is ${typeof key === 'object' ? 'an object' : String(key)}; return a string or undefined`,
  )
}

function isName(name: unknown): boolean {
  return typeof name === 'string' && name !== ''
}

function pathOf({ target }: ExchangeView): string {
  const query = target.indexOf('?')
  return query < 0 ? target : target.slice(0, query)
}

/** The value of the first cookie with that name in a `Cookie` header (RFC 6265 section 4.2), as received. */
function cookieOf(header: string | undefined, name: string): string | undefined {
  if (header === undefined) return undefined
  for (let start = 0; start < header.length; ) {
    const semicolon = header.indexOf(';', start)
    const end = semicolon < 0 ? header.length : semicolon
    // Searches within the pair. A search in the whole header would be quadratic: each pair without "=" would scan far
    // ahead.
    const pair = header.slice(start, end)
    const equals = pair.indexOf('=')
    if (equals >= 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim()
    start = end + 1
  }
  return undefined
}
