import type { Transform } from '../contracts/transform.ts'

/** Name of a transform that changes the path's prefix. */
export const STRIP_PREFIX = 'strip-prefix'
/** See {@link STRIP_PREFIX}. */
export const ADD_PREFIX = 'add-prefix'

/** Whether a transform changes the path's prefix. */
export function isPrefixTransform({ name }: Transform): boolean {
  return name === STRIP_PREFIX || name === ADD_PREFIX
}
