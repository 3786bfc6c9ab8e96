import type { Peer } from '../model/peer.ts'
import { LOOKALIKE } from './facts.ts'

/** Which peers may send forwarding headers. */
export interface ForwardingPolicy {
  /** Forwarding headers that every client may send, not only trusted proxies; in lower case. */
  readonly pass: ReadonlySet<string>
}

/**
 * Whether to believe a forwarding header (FORWARDING in its facts): from a trusted peer, or from any peer if the policy passes
 * it. A look-alike is never believed.
 */
export function isBelieved(facts: number, name: string, peer: Peer, { pass }: ForwardingPolicy): boolean {
  if ((facts & LOOKALIKE) !== 0) return false
  return peer.isTrusted || (pass.size > 0 && pass.has(name.toLowerCase()))
}
