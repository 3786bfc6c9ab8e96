import type { Peer } from '../model/peer.ts'
import { parseAddress } from './address.ts'

/**
 * The address of the client: the peer's or, behind trusted proxies, the last address in X-Forwarded-For that does not belong to a
 * trusted proxy. Entries to the left of it may be forged, and so may entries to the left of one that is not an address
 * (`unknown`). Never throws.
 */
export function clientAddressOf(peer: Peer, forwardedFor: string, isTrusted: (address: string) => boolean): string {
  let client = peer.address
  for (let end = forwardedFor.length; end > 0; ) {
    const comma = forwardedFor.lastIndexOf(',', end - 1)
    const text = forwardedFor.slice(comma + 1, end).trim()
    end = comma
    // RFC 9110 section 5.6.1: empty list members are ignored.
    if (text === '') continue
    const hop = parseAddress(text)
    if (hop === null) break
    client = hop
    if (!isTrusted(hop)) break
  }
  return client
}

/** How the client is connected to the first proxy. @param forwarded X-Forwarded-Proto, if it is believed; a list begins with the client's. */
export function clientProtocolOf({ isSecure }: Peer, forwarded: string): 'http' | 'https' {
  const first = forwarded.split(',', 1)[0]?.trim().toLowerCase()
  if (first === 'http' || first === 'https') return first
  return isSecure ? 'https' : 'http'
}
