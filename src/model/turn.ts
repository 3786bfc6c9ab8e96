import { AsyncResource } from 'node:async_hooks'

/** Has something to write when the event loop's turn ends. */
export interface Writer {
  /** Called once for each {@link atEndOfTurn}. Must not throw. */
  writeOut(): void
}

/** No request's: what all of them write together has one. */
const scope = new AsyncResource('heddle.turn', { requireManualDestroy: true })
let writers: Writer[] = []
let spare: Writer[] = []

/**
 * Has `writer` write when everything has been read that this turn of the event loop brings. What is then written one
 * after another wakes the other sides once: written in between the reads, each write would wake its reader, which is half
 * asleep again at the next. Under load a request costs a fifth to a third less so (docs/performance.md); where nothing
 * else has come, the turn ends at once.
 */
export function atEndOfTurn(writer: Writer): void {
  if (writers.push(writer) === 1) scope.runInAsyncScope(setImmediate, null, writeAll)
}

function writeAll(): void {
  const due = writers
  writers = spare
  spare = due
  for (const writer of due) writer.writeOut()
  due.length = 0
}
