/** The part in which a list differs from the one before. */
export interface Span {
  readonly start: number
  /** One past the last position, in the list. */
  readonly end: number
  /** The same, in the list before. */
  readonly endBefore: number
}

/** Finds what two lists have in common at their start and at their end: most changes of a long list touch a small part of it. */
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
