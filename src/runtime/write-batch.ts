import { AsyncResource } from 'node:async_hooks'
import { warnAbout } from './callbacks.ts'

/** Has something to write when the event loop's turn ends. */
export interface Writer {
  /** Called once for each {@link addToWriteBatch}. */
  writeOut(): void
  /** `writeOut()` threw this. What it was to write is lost, and nothing of the others'. */
  onWriteThrew(error: unknown): void
}

/** No request's: what all of them write together has one. */
const scope = new AsyncResource('heddle.turn', { requireManualDestroy: true })
let writers: Writer[] = []
let spare: Writer[] = []
let turns = 0

/**
 * How many turns of the event loop have had their writes made. When this is larger by two than it was, the sockets have
 * been polled in between: by one is not enough, since its end comes before the next poll.
 */
export function batchesWritten(): number {
  return turns
}

/**
 * Has `writer` write when everything has been read that this turn of the event loop brings. What is then written one
 * after another wakes the other sides once: written in between the reads, each write would wake its reader, which is half
 * asleep again at the next. Under load a request costs a fifth to a third less so (docs/performance.md); where nothing
 * else has come, the turn ends at once.
 */
export function addToWriteBatch(writer: Writer): void {
  if (writers.push(writer) === 1) scope.runInAsyncScope(setImmediate, null, writeAll)
}

function writeAll(): void {
  const due = writers
  writers = spare
  spare = due
  turns++
  for (const writer of due) {
    try {
      writer.writeOut()
    } catch (error) {
      tell(writer, error)
    }
  }
  due.length = 0
}

function tell(writer: Writer, error: unknown): void {
  try {
    writer.onWriteThrew(error)
  } catch (another) {
    warnAbout('a writer')(another)
  }
}
