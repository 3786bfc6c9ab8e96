import { isHost, isToken } from '../http1/fields.ts'

/** A request target, understood. */
export interface Target {
  /** Path and query in origin form, or `*`. */
  readonly path: string
  /** The host that an absolute-form target names; it replaces the Host header (RFC 9112 section 3.2.2). Else `null`. */
  readonly host: string | null
}

const ABSOLUTE = /^https?:\/\/([^/?#@\s]+)([/?][^#]*)?$/i

/**
 * Whether it may stand in a request line (RFC 9110 section 9.1), and is for a backend: CONNECT is for forward proxies. Well-known
 * methods are told at once.
 */
export function isMethod(method: string): boolean {
  return method === 'GET' || method === 'POST' || method === 'HEAD' || (method !== 'CONNECT' && isToken(method))
}

/**
 * Reads a request target (RFC 9112 section 3.2), or what an application has made of it: a space and what does not fit into one
 * byte are encoded, no path is `/`.
 * @returns `null` for one that cannot be passed on.
 */
export function parseTarget(method: string, given: string): Target | null {
  if (typeof given !== 'string') return null
  const target = PLAIN.test(given) ? given : writable(given)
  if (target === null) return null
  if (target.charCodeAt(0) === 47) return isOriginForm(target) ? { path: target, host: null } : null
  if (target === '*') return method === 'OPTIONS' ? { path: '*', host: null } : null
  const absolute = ABSOLUTE.exec(target)
  if (absolute === null) return null
  const [, host = '', rest = ''] = absolute
  const path = rest.startsWith('/') ? rest : `/${rest}`
  return isHost(host) && isOriginForm(path) ? { path, host } : null
}

/** Can stand in a request line as it is: some clients send bytes beyond ASCII. Not without regard to case, by which letters of other bytes are like them. */
const PLAIN = /^[/*a-zA-Z][\x21-\x7e\x80-\xff]*$/

/** What an application has decoded (`decodeURI(req.url)`) or cut off (`req.url = '?a=1'`), as it can be sent; `null` where it cannot. */
function writable(given: string): string | null {
  const target = given === '' || given.startsWith('?') ? `/${given}` : given
  if (CONTROL.test(target)) return null
  const encoded = target.replaceAll(' ', '%20')
  if (!BEYOND_BYTE.test(encoded)) return encoded
  try {
    // Where one letter takes more than a byte, those that would fit into one are letters too.
    return encoded.replace(/[^\x21-\x7e]+/g, encodeURIComponent)
  } catch {
    // Half of a surrogate pair.
    return null
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x1f\x7f]/
const BEYOND_BYTE = /[\u0100-\uffff]/

/** No fragment, which is never sent, and no backslash in the path, which some backends read as a slash. Other odd bytes are theirs to judge. */
function isOriginForm(target: string): boolean {
  if (target.includes('#')) return false
  const backslash = target.indexOf('\\')
  return backslash < 0 || target.lastIndexOf('?', backslash) >= 0
}
