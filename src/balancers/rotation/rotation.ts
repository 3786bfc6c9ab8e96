import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'

/** An order in which candidates are picked. */
export interface Rotation {
  /** Replaces the candidates. May take linear time. */
  begin(candidates: Candidates): void
  /** The next of the candidates of {@link begin}. */
  next(): Backend
  /** The next among `some` of the candidates, for a retry. May take linear time. */
  among(some: Candidates): Backend
}
