import type { Peer } from '../model/peer.ts'
import { LOOKALIKE } from './facts.ts'

/** Who may say who the client is. */
export interface ForwardingPolicy {
  /** Of the headers that only trusted proxies may send, those that anybody may; in lower case. */
  readonly pass: ReadonlySet<string>
}

/**
 * Whether a header counts that says who the client is (FORWARDING in its facts): of a trusted peer, or of anybody if the policy
 * passes it. One that only resembles such a header never does.
 */
export function isBelieved(facts: number, name: string, peer: Peer, { pass }: ForwardingPolicy): boolean {
  if ((facts & LOOKALIKE) !== 0) return false
  return peer.isTrusted || (pass.size > 0 && pass.has(name.toLowerCase()))
}
