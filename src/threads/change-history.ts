import { subjectOf, type ThreadsChange } from './protocol.ts'

/** What a thread that begins later must make up for: the last change of each subject, in the order of the calls. */
export class ChangeHistory implements Iterable<ThreadsChange> {
  readonly #changes = new Map<string, ThreadsChange>()

  constructor(changes: Iterable<ThreadsChange> = []) {
    for (const change of changes) this.add(change)
  }

  /** @returns to be called if the change could not be made: later threads could not make it either, and would not serve. */
  add(change: ThreadsChange): () => void {
    const subject = subjectOf(change)
    const before = this.#changes.get(subject)
    // After the others: the order is that of the calls.
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
