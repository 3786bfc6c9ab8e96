import { isHost } from '../http1/fields.ts'

/** A request target, understood. */
export interface Target {
  /** Path and query in origin form, or `*`. */
  readonly path: string
  /** The host that an absolute-form target names; it replaces the Host header (RFC 9112 section 3.2.2). Else `null`. */
  readonly host: string | null
}

const ABSOLUTE = /^https?:\/\/([^/?#@\s]+)([/?][^#]*)?$/i
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i

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

/** No fragment, which is never sent, and no backslash in the path, which some backends read as a slash. Other odd bytes are theirs to judge. */
function isOriginForm(target: string): boolean {
  if (target.includes('#')) return false
  const backslash = target.indexOf('\\')
  return backslash < 0 || target.lastIndexOf('?', backslash) >= 0
}

/** The path without its query. */
export function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query < 0 ? target : target.slice(0, query)
}

/**
 * Resolves `.` and `..` segments (RFC 3986 section 5.2.4), encoded ones too: a route must not be chosen by
 * `/public` when the backend would go on to read `/public/../admin`.
 */
export function withoutDotSegments(target: string): string {
  if (!target.includes('/.') && !target.includes('/%2')) return target
  const path = pathOf(target)
  if (!DOT_SEGMENT.test(path)) return target
  const kept: string[] = []
  const segments = path.slice(1).split('/')
  segments.forEach((segment, index) => {
    const plain = segment.replace(/%2e/gi, '.')
    const isLast = index === segments.length - 1
    if (plain === '..') kept.pop()
    if (plain !== '.' && plain !== '..') kept.push(segment)
    else if (isLast) kept.push('')
  })
  return `/${kept.join('/')}${target.slice(path.length)}`
}
