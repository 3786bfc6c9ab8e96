import { subjectOf, type ThreadsChange } from './protocol.ts'

/**
 * What a thread that begins later must make up for: the last change of each subject, in the order of the calls. Other options take the
 * place of all changes of backends: they say which there are, and may not have the group any more.
 */
export class ChangeHistory implements Iterable<ThreadsChange> {
  readonly #changes = new Map<string, ThreadsChange>()

  constructor(changes: Iterable<ThreadsChange> = []) {
    for (const change of changes) this.add(change)
  }

  /** @returns to be called if the change could not be made: later threads could not make it either, and would not serve. */
  add(change: ThreadsChange): () => void {
    const subject = subjectOf(change)
    const replaced = Array.from(this.#changes).filter(
      ([about, earlier]) => about === subject || ('options' in change && 'group' in earlier),
    )
    for (const [about] of replaced) this.#changes.delete(about)
    // After the others: the order is that of the calls.
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
