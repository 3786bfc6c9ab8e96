/** How to treat an encoded slash, backslash or NUL (`%2F`, `%5C`, `%00`) in a path; see `routing.encodedSlashes`. */
export type EncodedSlashes = 'refuse' | 'decode' | 'pass'

/** A path, as routes and backends get it. */
export interface PathReading {
  /** Path and query for the backend, without dot segments. */
  readonly path: string
  /** Path to compare with routes: {@link normalPath} of `path`, without the query. */
  readonly matched: string
  /** Why the path is refused, to follow "the request has" in a message, or `null`. */
  readonly fault: string | null
}

const SLASH = 47
const PERCENT = 37
const QUESTION = 63
const DOT = 46

/** Characters whose encoded form differs in meaning from the plain one: NUL, `%`, `/`, `\`. */
const KEPT = new Set([0, PERCENT, SLASH, 92])

const MALFORMED = /%(?![\da-f]{2})/i
const ENCODED_SLASHES = /%(?:2f|5c)/gi
const REFUSED = /%(?:2f|5c|00)/i
const NUL = '%00'
/** `.`, `/`, `\` and NUL in more bytes than UTF-8 uses for them. Some decoders accept these (RFC 3629 section 10). */
const OVERLONG = /(?:\xc0|\xe0\x80|\xf0\x80\x80)[\x80\xae\xaf]|(?:\xc1|\xe0\x81|\xf0\x80\x81)\x9c/
/** An encoding by Microsoft, which its servers have decoded. */
const UNICODE = /%u[\da-f]{4}/i
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i
/** Servers that drop the parameters of a segment before they resolve dots read `..;x` as `..`. */
const DOT_PARAMETER = /\/(?:\.|%2e){1,2}(?:;|%3b)/i

/**
 * Reads a path that routes look at. Dot segments are resolved (RFC 3986 section 5.2.4), encoded ones too, and spellings that
 * backends are known to read in different ways are refused. Most paths are plain and stay as they are.
 */
export function readPath(target: string, encodedSlashes: EncodedSlashes): PathReading {
  const received = pathOf(target)
  if (isPlain(received)) return { path: target, matched: received, fault: null }
  const refused = encodedSlashes === 'refuse' ? REFUSED.exec(received) : null
  const { path, matched, fault } = readEncoded(target, received, encodedSlashes)
  if (refused !== null) {
    const what = `${refused[0]} in its path, which routes and backends may read in different ways`
    return { path, matched, fault: `${what} (see routing.encodedSlashes)` }
  }
  const isMalformed = MALFORMED.test(received)
  return {
    path,
    matched,
    fault: isMalformed ? 'an invalid percent-encoding in its path (a plain % is written %25)' : fault,
  }
}

/**
 * Reads a path that no route looks at, but that gets a prefix: it must stay below the prefix. Encoded slashes that do not
 * lead out of it are left alone.
 */
export function confinePath(target: string, encodedSlashes: EncodedSlashes): PathReading {
  const received = pathOf(target)
  return isPlain(received)
    ? { path: target, matched: received, fault: null }
    : readEncoded(target, received, encodedSlashes)
}

/** @param received the path of `target`. */
function readEncoded(target: string, received: string, encodedSlashes: EncodedSlashes): PathReading {
  const path = resolveDotSegments(encodedSlashes === 'decode' ? received.replace(ENCODED_SLASHES, '/') : received)
  const matched = normalPath(path)
  const fault = pathFault(path, matched, encodedSlashes)
  return { path: path === received ? target : path + target.slice(received.length), matched, fault }
}

function pathFault(sent: string, decoded: string, encodedSlashes: EncodedSlashes): string | null {
  const path = encodedSlashes === 'refuse' ? sent.replace(ENCODED_SLASHES, '/') : sent
  if (hasDotSegments(path)) return 'a dot segment next to an encoded slash in its path (see routing.encodedSlashes)'
  if (DOT_PARAMETER.test(path)) return 'a dot segment with a parameter in its path'
  if (OVERLONG.test(decoded)) return 'an overlong encoding in its path'
  if (UNICODE.test(path)) return 'an invalid encoding with %u in its path'
  // If encoded slashes pass, NUL passes too: nothing decodes it.
  if (encodedSlashes !== 'pass' && path.includes(NUL)) return `${NUL} in its path (see routing.encodedSlashes)`
  return null
}

/** The path without its query. */
export function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query < 0 ? target : target.slice(0, query)
}

/** Whether the path can be read in only one way: it has no `%`, `//` or `/.`. */
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
 * The form in which paths are compared: everything is decoded but NUL, `%`, `/` and `\`, each byte is a character, and
 * repeated slashes are merged (RFC 3986 section 6.2.2, and nginx's merge_slashes).
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

/** The character whose encoding begins at `at`, or -1 if there is none. */
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

/** A path in the form of {@link normalPath}, as a server reads it that decodes encoded slashes. */
export function withSlashesDecoded(matched: string): string {
  return normalPath(resolveDotSegments(matched.replace(ENCODED_SLASHES, '/')))
}

/** Whether the path has dot segments. */
export function hasDotSegments(path: string): boolean {
  return DOT_SEGMENT.test(path)
}

/** The path with its dot segments resolved. */
export function resolveDotSegments(path: string): string {
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

/** 1 for the segment `.`, 2 for `..`, encoded or not; else 0. */
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
 * The rest of `target` after `prefix`: empty, or it starts with a slash or the query; `null` if `target` does not start with
 * `prefix`.
 * @param target in any spelling.
 * @param prefix in the form of {@link normalPath}, without a trailing slash.
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
 * Whether it is valid as a path in a request line: one byte per character, no spaces, control characters or fragment, and no backslash
 * before the query, which some backends read as a slash.
 */
export function isPath(path: string): boolean {
  return PATH.test(path)
}

const PATH = /^(?:\/[!"$->@-[\]-~\x80-\xff]*(?:\?[!"$-~\x80-\xff]*)?|\*)$/

/**
 * Joins `base` and `path`, as nginx, Go and http-proxy do. One exception: if a `target` without a trailing slash has been
 * reduced to `/`, the result has none either.
 * @param base empty or without a trailing slash.
 * @param target the target that the client requested.
 */
export function below(base: string, path: string, target: string): string {
  if (path === '*') return path
  const isRoot = path === '/' || path.startsWith('/?')
  return base !== '' && isRoot && !endsInSlash(target) ? base + path.slice(1) : base + path
}

/** Whether the target's path ends in a slash. An empty path means `/`, and a dot segment at the end leaves a slash. */
function endsInSlash(target: string): boolean {
  return /(?:^(?:[a-z]+:\/\/[^/]*)?|\/(?:\.|%2e){0,2})$/i.test(pathOf(target))
}
