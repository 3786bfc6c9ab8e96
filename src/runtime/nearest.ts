/** The name that was probably meant, or `null` if none is similar. */
export function nearest(name: string, names: readonly string[]): string | null {
  const ranked = names
    .map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)
  const best = ranked[0]
  if (best !== undefined && best.distance <= Math.max(1, Math.floor(name.length / 3))) return best.candidate
  // `failures` for `consecutiveFailures`.
  const longer = names.filter((candidate) => name.length > 3 && candidate.toLowerCase().includes(name.toLowerCase()))
  return longer.length === 1 ? (longer[0] ?? null) : null
}

/** The end of a message about a wrong name: `; did you mean routes?`, or nothing. @param before what stands before the name. */
export function didYouMean(name: string, names: readonly string[], before = ''): string {
  const likely = nearest(name, names)
  return likely === null ? '' : `; did you mean ${before}${likely}?`
}

/** The number of letters to insert, delete, replace, or swap with the next one (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let line = 1; line <= a.length; line += 1) {
    const next = [line]
    for (let column = 1; column <= b.length; column += 1) {
      const isSame = a[line - 1] === b[column - 1]
      const isSwapped = line > 1 && a[line - 1] === b[column - 2] && a[line - 2] === b[column - 1]
      next.push(
        Math.min(
          at(row, column - 1) + (isSame ? 0 : 1),
          at(row, column) + 1,
          at(next, column - 1) + 1,
          isSwapped ? at(before, column - 2) + 1 : Number.POSITIVE_INFINITY,
        ),
      )
    }
    before = row
    row = next
  }
  return at(row, b.length)
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY
}
