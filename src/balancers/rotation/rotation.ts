import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'

/** Whose turn it is: an order of service over candidates. */
export interface Rotation {
  /** The candidates are now these. Linear work is all right. */
  begin(candidates: Candidates): void
  /** Whose turn it is, of those that {@link begin} was given. */
  next(): Backend
  /** Whose turn it is among `some` of them, on a retry. Linear work is all right. */
  among(some: Candidates): Backend
}
