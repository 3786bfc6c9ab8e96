import { Duplex } from 'node:stream'

/** Stands for a client's socket, with no more methods than any Duplex has; takes what is written only when it is told to. */
export class SlowStream extends Duplex {
  /** As latin1. */
  taken = ''
  /** Takes everything at once. */
  isFast = true
  readonly #waiting: (() => void)[] = []

  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const take = (): void => {
      this.taken += chunk.toString('latin1')
      done()
    }
    if (this.isFast) take()
    else this.#waiting.push(take)
  }

  /** What was written first and has not been taken yet. */
  takeOne(): void {
    this.#waiting.shift()?.()
  }
}
