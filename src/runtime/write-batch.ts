import { AsyncResource } from 'node:async_hooks'
import { warnAbout } from './callbacks.ts'

/** Writes to a socket at the end of the event loop's turn. */
export interface Writer {
  /** Called once for each {@link addToWriteBatch}. */
  writeOut(): void
  /** Called with an error that {@link writeOut} threw. Other writers are not affected. */
  onWriteThrew(error: unknown): void
}

/** A batch writes for many requests, so it has an async context of its own. */
const scope = new AsyncResource('heddle.writeBatch', { requireManualDestroy: true })
let writers: Writer[] = []
let spare: Writer[] = []
let batches = 0

/**
 * Number of batches written so far. If it has grown by two, the sockets have been polled in between; growth by one is not
 * enough, because a batch is written before the next poll.
 */
export function batchesWritten(): number {
  return batches
}

/**
 * Calls `writer` after everything has been read in this turn of the event loop. Writes that follow each other wake each
 * peer once; writes between the reads would wake their readers one by one. Under load this makes a request a fifth to a
 * third cheaper (docs/performance.md). If nothing else has arrived, the turn ends at once.
 */
export function addToWriteBatch(writer: Writer): void {
  if (writers.push(writer) === 1) scope.runInAsyncScope(setImmediate, null, writeAll)
}

function writeAll(): void {
  const due = writers
  writers = spare
  spare = due
  batches++
  for (const writer of due) {
    try {
      writer.writeOut()
    } catch (error) {
      report(writer, error)
    }
  }
  due.length = 0
}

function report(writer: Writer, error: unknown): void {
  try {
    writer.onWriteThrew(error)
  } catch (another) {
    warnAbout('a writer')(another)
  }
}
