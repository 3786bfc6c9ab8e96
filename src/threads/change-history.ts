import { subjectOf, type ThreadsChange } from './protocol.ts'

/**
 * The changes that a new thread must apply: the last one of each subject, in the order of the calls. New options replace all
 * changes of backends: the options say which backends there are, and may have no such group.
 */
export class ChangeHistory implements Iterable<ThreadsChange> {
  readonly #changes = new Map<string, ThreadsChange>()

  constructor(changes: Iterable<ThreadsChange> = []) {
    for (const change of changes) this.add(change)
  }

  /** @returns an undo function, for a change that failed: new threads would fail too, and would not serve. */
  add(change: ThreadsChange): () => void {
    const subject = subjectOf(change)
    const replaced = Array.from(this.#changes).filter(
      ([about, earlier]) => about === subject || ('options' in change && 'group' in earlier),
    )
    for (const [about] of replaced) this.#changes.delete(about)
    // At the end, to keep the order of the calls.
    this.#changes.set(subject, change)
    return () => {
      if (this.#changes.get(subject) === change) this.#changes.delete(subject)
      for (const [about, earlier] of replaced) if (!this.#changes.has(about)) this.#changes.set(about, earlier)
    }
  }

  [Symbol.iterator](): IterableIterator<ThreadsChange> {
    return this.#changes.values()
  }
}
