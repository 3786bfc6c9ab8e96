/**
 * A small mutable view of a flat header list. Names are not case-sensitive. Headers of the connection and of framing
 * (RESERVED in headers/facts.ts) can be read, but only the proxy writes them.
 */
export interface HeaderView {
  get(name: string): string | undefined
  getAll(name: string): string[]
  has(name: string): boolean
  /** Replaces all headers with this name. @throws TypeError for an invalid name or value, and for a reserved name. */
  set(name: string, value: string): void
  /** Adds a header, and keeps others with this name. @throws TypeError as {@link set}. */
  append(name: string, value: string): void
  /** Removes all headers with this name. No effect on a reserved one. */
  delete(name: string): void
  entries(): IterableIterator<[name: string, value: string]>
}
