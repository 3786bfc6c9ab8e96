import { isHost, isToken } from '../http1/fields.ts'

/** A parsed request target. */
export interface Target {
  /** Path and query in origin form, or `*`. */
  readonly path: string
  /** The host of an absolute-form target, which replaces `Host` (RFC 9112 section 3.2.2), or `null`. */
  readonly host: string | null
}

const ABSOLUTE = /^https?:\/\/([^/?#@\s]+)([/?][^#]*)?$/i

/**
 * Whether `method` is valid (RFC 9110 section 9.1) and is for a backend: CONNECT is for forward proxies. The common methods
 * come first, for speed. An application may have set it to anything.
 */
export function isMethod(method: string): boolean {
  if (method === 'GET' || method === 'POST' || method === 'HEAD') return true
  return typeof method === 'string' && method !== 'CONNECT' && isToken(method)
}

/**
 * Parses a request target (RFC 9112 section 3.2), or a target that an application has changed: spaces and characters beyond
 * one byte are encoded, an empty path becomes `/`.
 * @returns `null` if it is invalid.
 */
export function parseTarget(method: string, text: string): Target | null {
  if (typeof text !== 'string') return null
  const target = PLAIN.test(text) ? text : encode(text)
  if (target === null) return null
  if (target.charCodeAt(0) === 47) return isOriginForm(target) ? { path: target, host: null } : null
  if (target === '*') return method === 'OPTIONS' ? { path: '*', host: null } : null
  const absolute = ABSOLUTE.exec(target)
  if (absolute === null) return null
  const [, host = '', rest = ''] = absolute
  const path = rest.startsWith('/') ? rest : `/${rest}`
  return isHost(host) && isOriginForm(path) ? { path, host } : null
}

/**
 * Can be sent as it is; some clients send bytes beyond ASCII. No `i` flag: with it, some letters beyond ASCII match
 * ASCII letters.
 */
const PLAIN = /^[/*a-zA-Z][\x21-\x7e\x80-\xff]*$/

/**
 * Encodes a target that an application has decoded (`decodeURI(req.url)`) or shortened (`req.url = '?a=1'`); `null` if
 * it cannot be sent.
 */
function encode(text: string): string | null {
  const target = text === '' || text.startsWith('?') ? `/${text}` : text
  if (CONTROL.test(target)) return null
  const encoded = target.replaceAll(' ', '%20')
  if (!BEYOND_BYTE.test(encoded)) return encoded
  try {
    // If one character is beyond a byte, the target is text: characters that would fit into one byte are encoded too.
    return encoded.replace(/[^\x21-\x7e]+/g, encodeURIComponent)
  } catch {
    // A lone surrogate.
    return null
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x1f\x7f]/
const BEYOND_BYTE = /[\u0100-\uffff]/

/**
 * Whether there is no fragment, which is never sent, and no backslash in the path, which some backends read as a slash.
 * Backends judge all other bytes.
 */
function isOriginForm(target: string): boolean {
  if (target.includes('#')) return false
  const backslash = target.indexOf('\\')
  return backslash < 0 || target.lastIndexOf('?', backslash) >= 0
}
