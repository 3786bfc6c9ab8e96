/** Options without what may be missing: the type of options whose defaults are filled in. */
export type Complete<Options> = { [Key in keyof Options]-?: Exclude<Options[Key], undefined> }

/** The options, with the defaults of those that are missing or `undefined`. */
export function complete<Options extends object>(
  defaults: Complete<Options>,
  given: Readonly<Options>,
): Complete<Options> {
  return { ...defaults, ...withoutUndefined(given) }
}

/** A copy without the properties that are `undefined`, so that they cannot hide a default. */
export function withoutUndefined<T extends object>(input: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept = Object.entries(input).filter(([, value]) => value !== undefined)
  return Object.fromEntries(kept) as { [K in keyof T]: Exclude<T[K], undefined> }
}
