/**
 * The one table of facts about header names: {@link classify} decides which headers are removed, refused, kept or written.
 * Only http1/framing.ts also names headers: those that frame a response.
 */

// The lowest bits number the names whose values are read:

/** Mask of a name's number; 0: its value is not read. */
export const NAME = 0x1f
export const CONNECTION = 1
export const CONTENT_LENGTH = 2
export const TRANSFER_ENCODING = 3
export const HOST = 4
export const TE = 5
export const EXPECT = 6
export const UPGRADE = 7
export const VIA = 8
export const MAX_FORWARDS = 9
export const TRAILER = 10
export const DATE = 11
export const X_FORWARDED_FOR = 12
export const X_FORWARDED_HOST = 13
export const X_FORWARDED_PORT = 14
export const X_FORWARDED_PROTO = 15

// Facts, one bit each:

/**
 * Not passed on to backends as received: it concerns one hop (RFC 9110 section 7.6.1), or is rewritten from the parsed
 * message.
 */
export const FROM_REQUESTS = 1 << 5
/** Not passed on to clients as received, for the same reasons. */
export const FROM_RESPONSES = 1 << 6
/** Gives the length of the body (RFC 9112 section 6). */
export const FRAMING = 1 << 7
/** Node's parser ends the connection after trailers with this name. */
export const CONNECTION_BOUND = 1 << 8
/**
 * Belongs to the connection or to framing, and only the proxy writes it. Transforms and applications cannot change it: most of
 * these names need a matching `Connection` or body (RFC 9110 sections 7.8, 8.6, 10.1.1 and 10.1.4).
 */
export const RESERVED = 1 << 9
/**
 * Not allowed in a trailer (RFC 9110 section 6.5.1): framing, connection, routing, conditions, authentication, response control,
 * content format, client identity. A receiver that merges trailers into the head would believe it.
 */
export const NO_TRAILER = 1 << 10
/** A client's `Connection` cannot remove it: the backend needs it, or it describes the content (RFC 9110 section 7.6.1). */
export const KEPT_IN_REQUESTS = 1 << 11
/** A backend's `Connection` cannot remove it: every recipient of the content needs it. */
export const KEPT_IN_RESPONSES = 1 << 12
/**
 * Identifies the client or its original request, so only trusted proxies are believed: `X-Forwarded-*`, `X-Forwarded`,
 * `X-Real-IP`, `X-Original-URL` and `X-Rewrite-URL` (which override the path that was routed), `Forwarded` (RFC 7239).
 */
export const FORWARDING = 1 << 13
/** A {@link FORWARDING} header that the proxy writes itself. */
export const WRITTEN = 1 << 14
/** If it is repeated, `req.headers` has only its first line, unless the server uses `joinDuplicateHeaders`. */
export const FIRST_ONLY = 1 << 15
/** The socket front hands a request with this header to node:http. */
export const LEFT_TO_NODE = 1 << 16
/**
 * A look-alike of the name: backends that read headers by CGI's rules cannot distinguish them (`Content_Length`). Look-alikes have
 * no number and few facts: they are not believed, not passed on to backends if they look like framing or like a client's certificate, and not allowed in trailers.
 */
export const LOOKALIKE = 1 << 17

/** The client's certificate as we have verified it (RFC 9440). A look-alike is not passed on to backends either. */
export const IDENTITY = 1 << 18

const ALL = -1
const HOP_BY_HOP = FROM_REQUESTS | FROM_RESPONSES | NO_TRAILER
const OURS = HOP_BY_HOP | RESERVED
const KEPT = KEPT_IN_REQUESTS | KEPT_IN_RESPONSES | NO_TRAILER
const FAMILY = FORWARDING | KEPT_IN_REQUESTS | NO_TRAILER

/** All known names, except for {@link FAMILY_PREFIX}, in lower case: letters, digits and hyphens, a letter first. */
export const HEADER_FACTS: readonly (readonly [name: string, facts: number])[] = [
  // The connection, and framing:
  ['connection', CONNECTION | OURS | CONNECTION_BOUND],
  ['proxy-connection', OURS | CONNECTION_BOUND | LEFT_TO_NODE],
  ['upgrade', UPGRADE | OURS | CONNECTION_BOUND | LEFT_TO_NODE],
  ['keep-alive', OURS],
  ['http2-settings', OURS],
  ['te', TE | OURS],
  ['transfer-encoding', TRANSFER_ENCODING | OURS | FRAMING],
  ['content-length', CONTENT_LENGTH | OURS | FRAMING | KEPT | FIRST_ONLY],
  ['expect', EXPECT | FROM_REQUESTS | RESERVED | NO_TRAILER | LEFT_TO_NODE],
  ['trailer', TRAILER | FROM_RESPONSES | NO_TRAILER],
  // Between a client and the next proxy (RFC 9110 section 11.7):
  ['proxy-authenticate', HOP_BY_HOP],
  ['proxy-authentication-info', HOP_BY_HOP],
  ['proxy-authorization', HOP_BY_HOP | FIRST_ONLY],
  // CGI passes it to programs as HTTP_PROXY (CVE-2016-5385).
  ['proxy', FROM_REQUESTS | NO_TRAILER],
  // Routing and the client:
  ['host', HOST | KEPT_IN_REQUESTS | NO_TRAILER | FIRST_ONLY],
  ['via', VIA | KEPT],
  ['max-forwards', MAX_FORWARDS | KEPT_IN_REQUESTS | NO_TRAILER | FIRST_ONLY | LEFT_TO_NODE],
  ['origin', KEPT_IN_REQUESTS | NO_TRAILER],
  ['x-forwarded-for', X_FORWARDED_FOR | FAMILY | WRITTEN],
  ['x-forwarded-host', X_FORWARDED_HOST | FAMILY | WRITTEN],
  ['x-forwarded-port', X_FORWARDED_PORT | FAMILY | WRITTEN],
  ['x-forwarded-proto', X_FORWARDED_PROTO | FAMILY | WRITTEN],
  ['x-forwarded', FAMILY],
  ['x-real-ip', FAMILY],
  ['x-rewrite-url', FAMILY],
  ['x-original-url', FAMILY],
  ['forwarded', FAMILY],
  // Only the proxy writes them, whoever the peer is.
  ['client-cert', IDENTITY | FROM_REQUESTS | NO_TRAILER],
  ['client-cert-chain', IDENTITY | FROM_REQUESTS | NO_TRAILER],
  // Authentication and conditions:
  ['authorization', KEPT_IN_REQUESTS | NO_TRAILER | FIRST_ONLY],
  ['cookie', KEPT_IN_REQUESTS | NO_TRAILER],
  ['www-authenticate', NO_TRAILER],
  ['set-cookie', KEPT_IN_RESPONSES | NO_TRAILER],
  ['range', NO_TRAILER],
  ['if-match', NO_TRAILER],
  ['if-none-match', NO_TRAILER],
  ['if-range', NO_TRAILER],
  ['if-modified-since', NO_TRAILER | FIRST_ONLY],
  ['if-unmodified-since', NO_TRAILER | FIRST_ONLY],
  // Content and caching:
  ['content-type', KEPT | FIRST_ONLY],
  ['content-encoding', KEPT],
  ['content-range', KEPT],
  ['cache-control', KEPT],
  ['pragma', NO_TRAILER],
  ['age', NO_TRAILER | FIRST_ONLY],
  ['date', DATE | NO_TRAILER],
  ['expires', NO_TRAILER | FIRST_ONLY],
  ['location', NO_TRAILER | FIRST_ONLY],
  ['retry-after', NO_TRAILER | FIRST_ONLY],
  ['vary', NO_TRAILER],
  ['etag', FIRST_ONLY],
  ['last-modified', FIRST_ONLY],
  ['from', FIRST_ONLY],
  ['referer', FIRST_ONLY],
  ['server', FIRST_ONLY],
  ['user-agent', FIRST_ONLY],
]

/** Any name with this prefix is a {@link FORWARDING} header. */
const FAMILY_PREFIX = 'x-forwarded-'

/** Sorted so that names of the same length and first letter are neighbours. */
const SORTED = HEADER_FACTS.toSorted(([a], [b]) => bucketOf(a) - bucketOf(b))
const NAMES = SORTED.map(([name]) => name)
/** The usual spelling of the names; compared first, because strings in the same case compare faster. */
const USUAL = NAMES.map((name) => name.replace(/(?:^|-)[a-z]/g, (start) => start.toUpperCase()))
const FACTS = SORTED.map(([, facts]) => facts)
const LONGEST = Math.max(...NAMES.map(({ length }) => length))

// By length and first letter: the range of NAMES, and the union of their facts.
const STARTS = new Uint8Array((LONGEST + 1) << 5)
const ENDS = new Uint8Array((LONGEST + 1) << 5)
const UNIONS = new Int32Array((LONGEST + 1) << 5)
for (const [i, name] of NAMES.entries()) {
  const bucket = bucketOf(name)
  if (ENDS[bucket] === 0) STARTS[bucket] = i
  ENDS[bucket] = i + 1
  addFacts(bucket, FACTS[i] as number)
}
for (let length = FAMILY_PREFIX.length; length <= LONGEST; length++)
  addFacts(bucketOf(FAMILY_PREFIX.padEnd(length)), FAMILY)

function addFacts(bucket: number, facts: number): void {
  UNIONS[bucket] = (UNIONS[bucket] as number) | facts | alike(facts)
}

function bucketOf(name: string): number {
  return (name.length << 5) | (name.charCodeAt(0) & 0x1f)
}

const HYPHEN = 0x2d
/** Characters as CGI maps them, but with letters in lower case and a hyphen for `_`. */
const PLAIN = new Uint8Array(256).fill(HYPHEN)
for (const char of 'abcdefghijklmnopqrstuvwxyz0123456789') {
  PLAIN[char.charCodeAt(0)] = char.charCodeAt(0)
  PLAIN[char.toUpperCase().charCodeAt(0)] = char.charCodeAt(0)
}

/**
 * The facts of a header, by its name in any case, with its number in {@link NAME}; 0 if nothing is known. It is called for each
 * line of each head: length and first letter decide about most names, and nothing is allocated.
 * @param wanted the facts that the caller needs. A name with none of them gives 0, mostly without a comparison.
 */
export function classify(name: string, wanted = ALL): number {
  if (name.length <= LONGEST && ((UNIONS[bucketOf(name)] as number) & wanted) === 0) return 0
  const facts = factsOf(name)
  return (facts & wanted) === 0 ? 0 : facts
}

function factsOf(name: string): number {
  const { length } = name
  if (length <= LONGEST) {
    const bucket = bucketOf(name)
    const end = ENDS[bucket] as number
    for (let i = STARTS[bucket] as number; i < end; i++) {
      if (name === USUAL[i] || name === NAMES[i]) return FACTS[i] as number
      const likeness = startsAs(name, NAMES[i] as string)
      if (likeness !== OTHER) return likeness === SAME ? (FACTS[i] as number) : alike(FACTS[i] as number)
    }
  }
  if (length < FAMILY_PREFIX.length || (name.charCodeAt(2) | 0x20) !== 0x66) return 0
  const likeness = startsAs(name, FAMILY_PREFIX)
  if (likeness === OTHER) return 0
  return likeness === SAME && isPlain(name) ? FAMILY : alike(FAMILY)
}

// Results of startsAs():
const OTHER = 0
const SAME = 1
const ALIKE = 2

function startsAs(name: string, lower: string): number {
  let likeness = SAME
  for (let i = 0; i < lower.length; i++) {
    const code = name.charCodeAt(i)
    const expected = lower.charCodeAt(i)
    if (code === expected) continue
    if (PLAIN[code] !== expected) return OTHER
    if (expected === HYPHEN) likeness = ALIKE
  }
  return likeness
}

function alike(facts: number): number {
  return LOOKALIKE | (facts & (FORWARDING | NO_TRAILER)) | ((facts & (FRAMING | IDENTITY)) === 0 ? 0 : FROM_REQUESTS)
}

function isPlain(name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i)
    if (code !== HYPHEN && PLAIN[code] === HYPHEN) return false
  }
  return true
}

/** The name as CGI backends compare it: in one case, with every character but letters and digits replaced. */
export function plainName(name: string): string {
  const lower = name.toLowerCase()
  return NOT_PLAIN.test(lower) ? lower.replace(NOT_PLAIN_ALL, '-') : lower
}

const NOT_PLAIN = /[^a-z0-9-]/
const NOT_PLAIN_ALL = /[^a-z0-9]/g
