/** The part in which a list differs from the previous one. */
export interface Span {
  readonly start: number
  /** One past the last position, in the new list. */
  readonly end: number
  /** One past the last position, in the previous list. */
  readonly endBefore: number
}

/** Skips the common start and end of two lists: most changes of a long list touch a small part of it. */
export function differenceOf<A, B>(
  before: readonly A[],
  after: readonly B[],
  isSame: (before: A, after: B) => boolean,
): Span {
  const most = Math.min(before.length, after.length)
  let start = 0
  while (start < most && isSame(before[start] as A, after[start] as B)) start++
  let end = after.length
  let endBefore = before.length
  while (end > start && endBefore > start && isSame(before[endBefore - 1] as A, after[end - 1] as B)) {
    end--
    endBefore--
  }
  return { start, end, endBefore }
}
