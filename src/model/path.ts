/** What becomes of an encoded slash, backslash or NUL (`%2F`, `%5C`, `%00`) in a path; see `routing.encodedSlashes`. */
export type EncodedSlashes = 'refuse' | 'decode' | 'pass'

/** A path as routes and backends get it. */
export interface PathReading {
  /** What goes to the backend: path and query. It has no dot segments. */
  readonly path: string
  /** What routes are compared with: {@link normalPath} of `path`, without the query. */
  readonly matched: string
  /** Why it cannot be passed on, to follow "the request has", or `null`. */
  readonly fault: string | null
}

const SLASH = 47
const PERCENT = 37
const QUESTION = 63
const DOT = 46

/** Codes whose encoded form is not the same as they are: NUL, `%`, `/`, `\`. */
const KEPT = new Set([0, PERCENT, SLASH, 92])

const MALFORMED = /%(?![\da-f]{2})/i
const ENCODED_SLASHES = /%(?:2f|5c)/gi
const REFUSED = /%(?:2f|5c|00)/i
const NUL = '%00'
/** `.`, `/`, `\` and NUL in more bytes than UTF-8 has for them. Some decoders take them all the same (RFC 3629 section 10). */
const OVERLONG = /(?:\xc0|\xe0\x80|\xf0\x80\x80)[\x80\xae\xaf]|(?:\xc1|\xe0\x81|\xf0\x80\x81)\x9c/
/** Microsoft's own, which its servers have decoded. */
const UNICODE = /%u[\da-f]{4}/i
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i
/** Servers that drop the parameters of a segment before they resolve dots take `..;x` for `..`. */
const DOT_PARAMETER = /\/(?:\.|%2e){1,2}(?:;|%3b)/i

/**
 * Reads a path where it is looked at: dot segments are resolved (RFC 3986 section 5.2.4), encoded ones too, and what
 * backends are known to read in different ways is refused. Most paths have nothing of all that: they stay as they are.
 */
export function readPath(target: string, encodedSlashes: EncodedSlashes): PathReading {
  const given = pathOf(target)
  if (isPlain(given)) return { path: target, matched: given, fault: null }
  const refused = encodedSlashes === 'refuse' ? REFUSED.exec(given) : null
  const { path, matched, fault } = readOdd(target, given, encodedSlashes)
  if (refused !== null) {
    const what = `${refused[0]} in its path, which routes and backends may read in different ways`
    return { path, matched, fault: `${what} (routing.encodedSlashes says what becomes of it)` }
  }
  const isMalformed = MALFORMED.test(given)
  return {
    path,
    matched,
    fault: isMalformed ? 'a % in its path that encodes nothing (a plain one is written %25)' : fault,
  }
}

/**
 * Reads a path that nobody looks at, but that something is put before: it must stay below that. Encoded slashes
 * that lead nowhere else are left alone.
 */
export function confinePath(target: string, encodedSlashes: EncodedSlashes): PathReading {
  const given = pathOf(target)
  return isPlain(given) ? { path: target, matched: given, fault: null } : readOdd(target, given, encodedSlashes)
}

/** @param given the path of `target`. */
function readOdd(target: string, given: string, encodedSlashes: EncodedSlashes): PathReading {
  const path = resolved(encodedSlashes === 'decode' ? given.replace(ENCODED_SLASHES, '/') : given)
  const matched = normalPath(path)
  const fault = foulPath(path, matched, encodedSlashes)
  return { path: path === given ? target : path + target.slice(given.length), matched, fault }
}

function foulPath(sent: string, decoded: string, encodedSlashes: EncodedSlashes): string | null {
  const path = encodedSlashes === 'refuse' ? sent.replace(ENCODED_SLASHES, '/') : sent
  if (hasDotSegments(path))
    return 'a dot segment beside an encoded slash in its path (routing.encodedSlashes says what becomes of it)'
  if (DOT_PARAMETER.test(path)) return 'a dot segment with a parameter in its path'
  if (OVERLONG.test(decoded)) return 'an overlong encoding in its path'
  if (UNICODE.test(path)) return 'an encoding with %u in its path, which is none'
  // Where slashes pass, so does NUL: nothing could be decoded to it.
  if (encodedSlashes !== 'pass' && path.includes(NUL))
    return `${NUL} in its path (routing.encodedSlashes says what becomes of it)`
  return null
}

/** The path without its query. */
export function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query < 0 ? target : target.slice(0, query)
}

/** Nothing in it can be read in another way than as it stands: it has no `%`, `//` or `/.`. */
export function isPlain(path: string): boolean {
  let wasSlash = false
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i)
    if (code === PERCENT || (wasSlash && (code === SLASH || code === DOT))) return false
    wasSlash = code === SLASH
  }
  return true
}

/**
 * The form in which paths are compared: no character is encoded but NUL, `%`, `/` and `\`, each byte is a character,
 * and slashes are joined (RFC 3986 section 6.2.2, and what nginx calls merge_slashes).
 */
export function normalPath(path: string): string {
  const joined = path.includes('//') ? path.replace(/\/{2,}/g, '/') : path
  if (!joined.includes('%')) return joined
  let normal = ''
  let from = 0
  for (let i = joined.indexOf('%'); i >= 0; i = joined.indexOf('%', i + 1)) {
    const code = encodedCode(joined, i)
    if (code < 0) continue
    normal +=
      joined.slice(from, i) + (KEPT.has(code) ? joined.slice(i, i + 3).toUpperCase() : String.fromCharCode(code))
    i += 2
    from = i + 1
  }
  return normal + joined.slice(from)
}

/** The character whose encoding begins at `at`, or -1 where none does. */
function encodedCode(path: string, at: number): number {
  const high = hexDigit(path.charCodeAt(at + 1))
  const low = hexDigit(path.charCodeAt(at + 2))
  return high < 0 || low < 0 ? -1 : high * 16 + low
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48
  const letter = code | 0x20
  return letter >= 97 && letter <= 102 ? letter - 87 : -1
}

/** A path in {@link normalPath} as a server would take it that reads encoded slashes as slashes. */
export function withSlashesDecoded(matched: string): string {
  return normalPath(resolved(matched.replace(ENCODED_SLASHES, '/')))
}

/** Whether it has dot segments. */
export function hasDotSegments(path: string): boolean {
  return DOT_SEGMENT.test(path)
}

/** The path with its dot segments resolved. */
export function resolved(path: string): string {
  if (!hasDotSegments(path)) return path
  const kept: string[] = []
  const segments = path.slice(1).split('/')
  segments.forEach((segment, index) => {
    const dots = dotsIn(segment)
    if (dots === 2) kept.pop()
    if (dots === 0) kept.push(segment)
    else if (index === segments.length - 1) kept.push('')
  })
  return `/${kept.join('/')}`
}

/** 1 for a segment that is `.`, 2 for `..`, encoded or not; else 0. */
function dotsIn(segment: string): number {
  let dots = 0
  for (let i = 0; i < segment.length; dots++) {
    if (segment.charCodeAt(i) === DOT) i++
    else if (segment.charCodeAt(i) === PERCENT && encodedCode(segment, i) === DOT) i += 3
    else return 0
    if (dots === 2) return 0
  }
  return dots
}

/**
 * What follows `prefix` in `target`: empty, or from a slash or the query on; `null` where it does not begin with it.
 * @param prefix in {@link normalPath}, without a slash at its end; `target` may be written in any way.
 */
export function afterPrefix(target: string, prefix: string): string | null {
  let at = 0
  for (let i = 0; i < prefix.length; i++) {
    let code = target.charCodeAt(at)
    if (code === QUESTION) return null
    let width = 1
    if (code === SLASH) while (target.charCodeAt(at + 1) === SLASH) at++
    else if (code === PERCENT) {
      const decoded = encodedCode(target, at)
      if (KEPT.has(decoded)) {
        if (target.slice(at, at + 3).toUpperCase() !== prefix.slice(i, i + 3)) return null
        at += 3
        i += 2
        continue
      }
      code = decoded
      width = 3
    }
    if (code !== prefix.charCodeAt(i)) return null
    at += width
  }
  const next = target.charCodeAt(at)
  return at === target.length || next === SLASH || next === QUESTION ? target.slice(at) : null
}

/**
 * `path` with `base` before it. Nginx, Go and http-proxy join the same way, but for `/`: where that is all that is left of a
 * `target` without a slash at its end, it adds none.
 * @param base empty or without a slash at its end. @param target what the client asked for.
 */
export function below(base: string, path: string, target: string): string {
  if (path === '*') return path
  const isRoot = path === '/' || path.startsWith('/?')
  return base !== '' && isRoot && !endsInSlash(target) ? base + path.slice(1) : base + path
}

/** An empty path means `/`, and a dot segment at the end leaves a slash there. */
function endsInSlash(target: string): boolean {
  return /(?:^(?:[a-z]+:\/\/[^/]*)?|\/(?:\.|%2e){0,2})$/i.test(pathOf(target))
}
