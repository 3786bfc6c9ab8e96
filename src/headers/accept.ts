/**
 * Of `offers`, the media type that `Accept` prefers (RFC 9110 section 12.5.1): by quality; among equals the one that is named
 * more precisely, then the one that is named first, then the first offer. Parameters of media ranges do not count.
 * @param accept all lines of the header, joined by commas; empty: it is absent. @param offers such as `text/plain`, in lower case.
 * @returns the first offer if none is acceptable: any response says more than 406.
 */
export function preferredType<Type extends string>(accept: string, offers: readonly [Type, ...Type[]]): Type {
  let preferred = offers[0]
  const ranges = accept.split(',').map(parseAccepted)
  let best = NOT_ACCEPTED
  for (const offer of offers) {
    const rank = rankOf(offer, ranges)
    if (!isBetter(rank, best)) continue
    preferred = offer
    best = rank
  }
  return preferred
}

/**
 * Of `codings`, the content coding that Accept-Encoding prefers (RFC 9110 section 12.5.3): by quality; among equals the first of
 * `codings`. An empty header asks for none.
 * @param accept all lines of the header, joined. @param codings names in lower case.
 * @returns `null` for none: no coding is acceptable, or `identity` is preferred.
 */
export function preferredCoding<Coding extends string>(accept: string, codings: readonly Coding[]): Coding | null {
  const qualities = new Map<string, number>()
  for (const member of accept.split(',')) {
    const { name, quality } = parseAccepted(member)
    // Section 8.4.1.3.
    qualities.set(name === 'x-gzip' ? 'gzip' : name, quality)
  }
  let preferred: Coding | null = null
  let most = 0
  for (const coding of codings) {
    const quality = qualities.get(coding) ?? qualities.get('*') ?? 0
    if (quality <= most) continue
    preferred = coding
    most = quality
  }
  return (qualities.get('identity') ?? 0) > most ? null : preferred
}

/** A member of a list of acceptable media types or codings. */
interface Accepted {
  readonly name: string
  readonly quality: number
}

interface Rank {
  readonly quality: number
  /** 2: by its name, 1: by its type, 0: as any type. */
  readonly precision: number
  /** Position in the list. */
  readonly position: number
}

const NOT_ACCEPTED: Rank = { quality: 0, precision: 0, position: 0 }

/** The most precise range that matches decides. */
function rankOf(offer: string, ranges: readonly Accepted[]): Rank {
  const names = ['*/*', `${offer.slice(0, offer.indexOf('/'))}/*`, offer]
  let rank = NOT_ACCEPTED
  let precision = -1
  for (const [position, { name, quality }] of ranges.entries()) {
    const found = names.indexOf(name)
    if (found <= precision) continue
    precision = found
    rank = { quality, precision, position }
  }
  return rank
}

function isBetter(one: Rank, other: Rank): boolean {
  if (one.quality !== other.quality) return one.quality > other.quality
  if (one.quality === 0) return false
  if (one.precision !== other.precision) return one.precision > other.precision
  return one.position < other.position
}

function parseAccepted(text: string): Accepted {
  const [name = '', ...parameters] = text.split(';')
  let quality = 1
  for (const parameter of parameters) {
    const [label = '', value = ''] = parameter.split('=', 2)
    if (label.trim().toLowerCase() === 'q') quality = QUALITY.test(value.trim()) ? Number(value) : 0
  }
  return { name: name.trim().toLowerCase(), quality }
}

const QUALITY = /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/
