import { fieldValue } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import type { RequestHead } from '../model/message.ts'
import { afterPrefix } from '../model/path.ts'
import { cleanPrefix, comparablePrefix } from '../model/prefix.ts'
import { checkKeys, isObject, optionError } from './option-checks.ts'

/** How paths of the client differ from those of the backend. */
export interface PrefixChange {
  /** Prefix of the backend's paths, which is removed. Default: the path of the backend's URL. */
  readonly from?: string | undefined
  /** Prefix of the client's paths, which is added. */
  readonly to: string
}

/**
 * Whether `url` points to the backend: to its address, or to the name that it was asked by.
 * @param asked the value of `Host` that the request had.
 */
export function isOwnAddress(url: URL, backend: Backend, asked: string): boolean {
  const own = URL.parse(`${protocolOf(backend)}//${backend.host}`)
  if (own !== null && url.hostname === own.hostname && portOf(url) === portOf(own)) return true
  // A port may be absent from Host or be the default one.
  return URL.parse(`${url.protocol}//${asked}`)?.host === url.host
}

/** `Host` of the request; empty for none. */
export function askedHost({ headers }: RequestHead): string {
  return fieldValue(headers, 'host') ?? ''
}

/** `http:` or `https:`. */
export function protocolOf(backend: Backend): string {
  return backend.endpoint.isSecure ? 'https:' : 'http:'
}

function portOf({ port, protocol }: URL): string {
  return port !== '' ? port : protocol === 'https:' ? '443' : '80'
}

/**
 * Compiles a function that turns a path of a backend (with its query) into that of the client: undoes what the backend's URL and
 * the route's prefixes have done to the request. It returns `null` for a path without the backend's prefix.
 * @param name of the interceptor, for messages. @param change a string is the prefix of the client's paths.
 * @throws TypeError if a prefix is invalid.
 */
export function clientPaths(
  name: string,
  change: string | PrefixChange | undefined,
): (path: string, backend: Backend) => string | null {
  const { from, to } = prefixes(name, change)
  const removed = from === undefined ? null : comparablePrefix(from)
  return (path, { basePath }) => {
    const rest = afterPrefix(path, removed ?? comparablePrefix(basePath))
    if (rest === null) return null
    const joined = to + rest
    return joined.startsWith('/') ? joined : `/${joined}`
  }
}

/** @throws TypeError if a prefix is invalid. */
function prefixes(name: string, change: unknown): PrefixChange {
  if (change === undefined) return { to: '' }
  if (typeof change === 'string') return { to: cleanPrefix(`${name}: prefix`, change) }
  if (!isObject(change)) throw optionError(name, 'prefix', change, 'a path, such as "/api", or { from, to }')
  checkKeys(`${name}: prefix`, change, ['from', 'to'])
  const to = cleanPrefix(`${name}: prefix.to`, change.to as string)
  return change.from === undefined ? { to } : { from: cleanPrefix(`${name}: prefix.from`, change.from as string), to }
}
