import type { IncomingMessage } from 'node:http'
import picomatch from 'picomatch'
import { HttpProxyMiddlewareError } from './middleware-error.ts'
import type { Filter } from './types.ts'

/** Whether the middleware takes a request. Throws what a filter function throws, and a TypeError for a URL that cannot be read. */
export type PathMatcher<TReq extends IncomingMessage> = (req: TReq) => boolean

/**
 * The matcher of the option `pathFilter`; `null` if every request passes. It sees the path as browsers read it: without the query,
 * dot segments resolved.
 * @throws {@link HttpProxyMiddlewareError} for a filter of another type, and for a list that mixes plain paths and globs.
 */
export function pathMatcher<TReq extends IncomingMessage>(filter: Filter<TReq> | undefined): PathMatcher<TReq> | null {
  if (filter === undefined || filter === '' || filter === '/') return null
  if (typeof filter === 'function') return (req) => Boolean(filter(pathOf(req), req))
  const patterns: unknown = typeof filter === 'string' ? [filter] : filter
  if (!isTextList(patterns)) {
    throw new HttpProxyMiddlewareError(
      'Invalid pathFilter. Expecting something like: "/api" or ["/api", "/ajax"]',
      'HPM_INVALID_PATH_FILTER_CONFIG',
    )
  }
  const globs = patterns.filter(isGlob)
  if (globs.length === 0) return (req) => startsWithAny(pathOf(req), patterns)
  if (globs.length < patterns.length) {
    throw new HttpProxyMiddlewareError(
      'Invalid pathFilter. Plain paths (e.g. "/api") can not be mixed with globs (e.g. "/api/**"). ' +
        'Expecting something like: ["/api", "/ajax"] or ["/api/**", "!**.html"].',
      'HPM_INVALID_PATH_FILTER_ARRAY_CONFIG',
    )
  }
  const matches = globMatcher(globs)
  return (req) => matches(pathOf(req))
}

/** The longest path that is compared with globs, in characters: their time grows with a power of it, by their number of wildcards. */
const MAX_GLOB_PATH = 2048

/**
 * The last pattern that applies decides. If all patterns are negated, everything passes that none of them excludes. Longer paths than
 * {@link MAX_GLOB_PATH} do not pass.
 */
function globMatcher(patterns: readonly string[]): (path: string) => boolean {
  const rules = patterns.map((pattern) => {
    const matches = picomatch(pattern, {}, true)
    const { negated, negatedExtglob } = matches.state as { negated?: boolean; negatedExtglob?: boolean }
    return { isNegated: negated === true || negatedExtglob === true, matches }
  })
  const allNegated = rules.every(({ isNegated }) => isNegated)
  return (path) => {
    if (path.length > MAX_GLOB_PATH) return false
    let isIn = allNegated
    for (const { isNegated, matches } of rules) if (matches(path) !== isNegated) isIn = !isNegated
    return isIn
  }
}

/** `!` in front, `*`, an alternative, a set, a range, or an extglob; as http-proxy-middleware tells plain paths from globs. */
const GLOB = /^!|\*|[\].+)]\?|[@?!+]\(.*\)|\[[^\\\]]+\]|\{[^\\}]+\}|\([^\\)]*\|[^\\)]*\)/

function isGlob(pattern: string): boolean {
  return GLOB.test(pattern.replace(/\\./g, ''))
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string')
}

function startsWithAny(path: string, prefixes: readonly string[]): boolean {
  return prefixes.some((prefix) => path.startsWith(prefix))
}

function pathOf({ url = '/' }: IncomingMessage): string {
  // `//host/path` is a path here, not a host: it is sent to the backend as it is.
  return new URL(url.startsWith('/') ? `http://path.invalid${url}` : url, 'http://path.invalid').pathname
}
