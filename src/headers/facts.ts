/**
 * The one table of facts about header names: {@link classify} decides which headers are removed, refused, kept or written. Only the
 * fields that frame a response are named elsewhere, too: they are part of HTTP/1 itself (http1/framing.ts).
 */

// Names whose values are read, in the lowest bits:

/** Mask of the number of a name; 0: its value is not read. */
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

// Facts, a bit each:

/** Is not passed on to backends as it is: it speaks of one hop (RFC 9110 section 7.6.1), or is written anew from what was parsed. */
export const FROM_REQUESTS = 1 << 5
/** Is not passed on to clients as it is, for the same reasons. */
export const FROM_RESPONSES = 1 << 6
/** Says how long the body is (RFC 9112 section 6). */
export const FRAMING = 1 << 7
/** node's parser ends the connection after trailers that have it. */
export const CONNECTION_BOUND = 1 << 8
/**
 * Belongs to the connection or to framing, and is written by us alone. Transforms and applications cannot change it: most of these need
 * a `Connection` or a body that goes with them (RFC 9110 sections 7.8, 8.6, 10.1.1 and 10.1.4).
 */
export const RESERVED = 1 << 9
/**
 * Must not come in a trailer (RFC 9110 section 6.5.1): framing, connection, routing, conditions, authentication, control of the
 * response, how to read the body, who the client is. A receiver that merges trailers into the head would believe it.
 */
export const NO_TRAILER = 1 << 10
/** A client cannot have it removed by `Connection`: the backend must see it, or it says how to read the content (RFC 9110 section 7.6.1). */
export const KEPT_IN_REQUESTS = 1 << 11
/** A backend cannot have it removed by `Connection`: it is meant for everyone who reads the content. */
export const KEPT_IN_RESPONSES = 1 << 12
/**
 * Says who the client is and what it asked for, so that it is believed of trusted proxies only: `X-Forwarded-*`, `X-Forwarded`,
 * `X-Real-IP`, `X-Original-URL` and `X-Rewrite-URL` (in place of the path on which we have routed), `Forwarded` (RFC 7239).
 */
export const FORWARDING = 1 << 13
/** One of {@link FORWARDING} that we write ourselves. */
export const WRITTEN = 1 << 14
/** `req.headers` has the first line of several, unless the server was made with `joinDuplicateHeaders`. */
export const FIRST_ONLY = 1 << 15
/** A request that has it is left to node:http by the front on raw sockets. */
export const LEFT_TO_NODE = 1 << 16
/**
 * Is not the name itself, but one that a backend takes for it if it gets its headers by CGI's rules: `Content_Length`. Such names
 * have no number and few facts: they are not believed, not passed on in place of framing, and not allowed in trailers.
 */
export const LOOKALIKE = 1 << 17

const ALL = -1
const HOP_BY_HOP = FROM_REQUESTS | FROM_RESPONSES | NO_TRAILER
const OURS = HOP_BY_HOP | RESERVED
const KEPT = KEPT_IN_REQUESTS | KEPT_IN_RESPONSES | NO_TRAILER
const FAMILY = FORWARDING | KEPT_IN_REQUESTS | NO_TRAILER

/** All names of which we know something, except for {@link FAMILY_PREFIX}, in lower case: letters, digits and hyphens, a letter first. */
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
  // CGI hands it to programs as HTTP_PROXY (CVE-2016-5385).
  ['proxy', FROM_REQUESTS | NO_TRAILER],
  // Where the message goes, and from whom:
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
  // Who asks, and conditions:
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
  // How to read the content, and how long it is true:
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

/** The family has more members than can be listed. */
const FAMILY_PREFIX = 'x-forwarded-'

/** Those of one length and first letter are neighbours. */
const SORTED = HEADER_FACTS.toSorted(([a], [b]) => bucketOf(a) - bucketOf(b))
const NAMES = SORTED.map(([name]) => name)
/** As most senders write them; compared first, since equal strings are found faster than those that differ in case. */
const USUAL = NAMES.map((name) => name.replace(/(?:^|-)[a-z]/g, (start) => start.toUpperCase()))
const FACTS = SORTED.map(([, facts]) => facts)
const LONGEST = Math.max(...NAMES.map(({ length }) => length))

// By length and first letter: where in NAMES those begin that have both, where they end, and all that is known of any of them.
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
/** Characters as CGI's rules leave them, if letters were in lower case and `_` a hyphen. */
const PLAIN = new Uint8Array(256).fill(HYPHEN)
for (const char of 'abcdefghijklmnopqrstuvwxyz0123456789') {
  PLAIN[char.charCodeAt(0)] = char.charCodeAt(0)
  PLAIN[char.toUpperCase().charCodeAt(0)] = char.charCodeAt(0)
}

/**
 * What is known of a header, by its name in any case: facts, and in {@link NAME} its number; 0 for nothing. Called for each line of
 * each head: most names are told by their length and first letter alone, and nothing is allocated.
 * @param asked the facts on which the caller acts: 0 for a name that has none of them, which is mostly found without comparing.
 */
export function classify(name: string, asked = ALL): number {
  if (name.length <= LONGEST && ((UNIONS[bucketOf(name)] as number) & asked) === 0) return 0
  const facts = factsOf(name)
  return (facts & asked) === 0 ? 0 : facts
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

// What startsAs() returns:
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
  return LOOKALIKE | (facts & (FORWARDING | NO_TRAILER)) | ((facts & FRAMING) === 0 ? 0 : FROM_REQUESTS)
}

function isPlain(name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i)
    if (code !== HYPHEN && PLAIN[code] === HYPHEN) return false
  }
  return true
}

/** As a backend that gets its headers by CGI's rules (every character that is no letter or digit becomes `_`) would compare it. */
export function plainName(name: string): string {
  const lower = name.toLowerCase()
  return NOT_PLAIN.test(lower) ? lower.replace(NOT_PLAIN_ALL, '-') : lower
}

const NOT_PLAIN = /[^a-z0-9-]/
const NOT_PLAIN_ALL = /[^a-z0-9]/g
