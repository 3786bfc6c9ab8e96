/** What we write ourselves, of every request. */
export const WRITTEN: readonly string[] = [
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
]

const X = 0x78
const F = 0x66
const O = 0x6f
const P = 0x70
const R = 0x72

/**
 * Whether a header says who the client is and what it asked for, so that it is believed of trusted proxies only: `X-Forwarded-*`,
 * `X-Forwarded`, `X-Real-IP`, `X-Original-URL` and `X-Rewrite-URL` (in place of the path on which we have routed), `Forwarded`
 * (RFC 7239); or is `Proxy`, which CGI hands to programs as HTTP_PROXY
 * (CVE-2016-5385). Names that a backend which gets its headers by CGI's rules reads as these (`X_Forwarded_For`) are of the family too.
 * @returns the name in the form in which we compare it (`x-forwarded-for`), or `null` for any other header.
 */
export function forwardingName(name: string): string | null {
  // Most headers are told by their first letter, nearly all others by their third.
  const first = name.charCodeAt(0) | 0x20
  if (first === X) {
    const third = name.charCodeAt(2) | 0x20
    if ((third !== F && third !== R && third !== O) || name.length < 9) return null
    const plain = plainName(name)
    if (third === F) return plain === 'x-forwarded' || plain.startsWith('x-forwarded-') ? plain : null
    return plain === 'x-real-ip' || plain === 'x-rewrite-url' || plain === 'x-original-url' ? plain : null
  } else if (first === F) return name.length === 9 && name.toLowerCase() === 'forwarded' ? 'forwarded' : null
  else if (first === P) return name.length === 5 && name.toLowerCase() === 'proxy' ? 'proxy' : null
  return null
}

/** As a backend that gets its headers by CGI's rules (every character that is no letter or digit becomes `_`) would compare it. */
export function plainName(name: string): string {
  const lower = name.toLowerCase()
  return OTHER.test(lower) ? lower.replace(OTHERS, '-') : lower
}

const OTHER = /[^a-z0-9-]/
const OTHERS = /[^a-z0-9]/g
