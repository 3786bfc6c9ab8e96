/**
 * A small mutable view on a flat header list; names are matched without regard to case. Headers of the connection and of framing
 * (RESERVED in headers/facts.ts) can be read, but the proxy writes them itself.
 */
export interface HeaderView {
  get(name: string): string | undefined
  getAll(name: string): string[]
  has(name: string): boolean
  /** Replaces all of that name. @throws TypeError for a name or value that cannot stand in a head, and for a reserved name. */
  set(name: string, value: string): void
  /** Adds one more. @throws TypeError likewise. */
  append(name: string, value: string): void
  /** Removes all of that name; has no effect on a reserved one. */
  delete(name: string): void
  entries(): IterableIterator<[name: string, value: string]>
}
