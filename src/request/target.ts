import { isHost } from '../http1/fields.ts'
import { type EncodedSlashes, isPlain, type PathReading, pathOf, readPath } from '../model/path.ts'

/** A request target, understood. */
export interface Target {
  /** Path and query in origin form, or `*`. */
  readonly path: string
  /** The host that an absolute-form target names; it replaces the Host header (RFC 9112 section 3.2.2). Else `null`. */
  readonly host: string | null
}

/** A {@link Target} whose path has been read. */
export interface ReadTarget extends PathReading {
  readonly host: string | null
}

const ABSOLUTE = /^https?:\/\/([^/?#@\s]+)([/?][^#]*)?$/i

/** Reads a request target (RFC 9112 section 3.2). @returns `null` for one that cannot be passed on. */
export function parseTarget(method: string, target: string): Target | null {
  if (target.charCodeAt(0) === 47) return isOriginForm(target) ? { path: target, host: null } : null
  if (target === '*') return method === 'OPTIONS' ? { path: '*', host: null } : null
  const absolute = ABSOLUTE.exec(target)
  if (absolute === null) return null
  const [, host = '', rest = ''] = absolute
  const path = rest.startsWith('/') ? rest : `/${rest}`
  return isHost(host) && isOriginForm(path) ? { path, host } : null
}

/**
 * Reads a request target for routes and backends.
 * @param encodedSlashes `null`: nobody looks at paths, and they pass byte by byte.
 * @returns `null` for one that cannot be passed on.
 */
export function readTarget(method: string, target: string, encodedSlashes: EncodedSlashes | null): ReadTarget | null {
  const parsed = parseTarget(method, target)
  if (parsed === null) return null
  const { path, host } = parsed
  const matched = pathOf(path)
  if (encodedSlashes === null || isPlain(matched)) return { path, matched, fault: null, host }
  return { ...readPath(path, encodedSlashes), host }
}

/** No fragment, which is never sent, and no backslash in the path, which some backends read as a slash. Other odd bytes are theirs to judge. */
function isOriginForm(target: string): boolean {
  if (target.includes('#')) return false
  const backslash = target.indexOf('\\')
  return backslash < 0 || target.lastIndexOf('?', backslash) >= 0
}
