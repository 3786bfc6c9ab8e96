import type { Peer } from './front.ts'

/**
 * The address of the client: the peer's, or, behind trusted proxies, the last one in X-Forwarded-For that is not
 * itself a trusted proxy's. What stands to the left of that may be anybody's invention.
 */
export function clientAddressOf(peer: Peer, forwardedFor: string, isTrusted: (address: string) => boolean): string {
  if (forwardedFor === '') return peer.address
  const hops = forwardedFor.split(',')
  let client = peer.address
  for (let i = hops.length - 1; i >= 0; i--) {
    const hop = hops[i]?.trim() ?? ''
    if (hop === '') continue
    client = hop
    if (!isTrusted(hop)) break
  }
  return client
}
