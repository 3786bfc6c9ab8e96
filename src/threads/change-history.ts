import { subjectOf, type ThreadsChange } from './protocol.ts'

/** The changes that a new thread must apply: the last one of each subject, in the order of the calls. */
export class ChangeHistory implements Iterable<ThreadsChange> {
  readonly #changes = new Map<string, ThreadsChange>()

  constructor(changes: Iterable<ThreadsChange> = []) {
    for (const change of changes) this.add(change)
  }

  /** @returns an undo function, for a change that failed: new threads would fail too, and would not serve. */
  add(change: ThreadsChange): () => void {
    const subject = subjectOf(change)
    const before = this.#changes.get(subject)
    // Moves the subject to the end, to keep the order of the calls.
    this.#changes.delete(subject)
    this.#changes.set(subject, change)
    return () => {
      if (this.#changes.get(subject) === change) this.#changes.delete(subject)
      if (before !== undefined && !this.#changes.has(subject)) this.#changes.set(subject, before)
    }
  }

  [Symbol.iterator](): IterableIterator<ThreadsChange> {
    return this.#changes.values()
  }
}
