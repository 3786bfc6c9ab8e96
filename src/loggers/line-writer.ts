import fs from 'node:fs'
import { warnAbout } from '../runtime/callbacks.ts'

/** The part of a stream that a {@link lineWriter} uses. It calls `done` when the text is written, or with an error. */
export interface LineStream {
  write(text: Buffer, done: (error?: Error | null) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
}

/** Options of a {@link lineWriter}. */
export interface LineWriterOptions {
  /**
   * Size of the buffer for waiting lines, counting a character as a byte. Lines beyond it are dropped and counted.
   * Default 16 MiB.
   */
  readonly maxBufferedBytes?: number | undefined
  /** Size at which a batch is written at once. Default 64 KiB. */
  readonly batchBytes?: number | undefined
  /** Least time between two writes while no batch is full, ms: a write costs more than the lines in it. Default 100. */
  readonly intervalMs?: number | undefined
  /** Delay before a write to a full pipe in non-blocking mode (`EAGAIN`) is retried, ms. Default 20. */
  readonly retryMs?: number | undefined
  /** Called for each batch that could not be written. Its lines are lost and counted. Default: none. */
  readonly onError?: ((error: Error) => void) | undefined
}

/** Writes lines without ever making the caller wait. */
export interface LineWriter extends AsyncDisposable {
  /** Adds a line, given without its line end. Never throws, never blocks. */
  write(line: string): void
  /** Lines lost so far: because the buffer was full, after an error, or after {@link close}. */
  readonly dropped: number
  /** Resolves when the lines so far are written, or lost. Never rejects. */
  flush(): Promise<void>
  /** Flushes and drops all later lines. The file or stream stays open: it belongs to the caller. Idempotent. */
  close(): Promise<void>
}

interface Batch {
  readonly text: string
  readonly lines: number
}

const NEWLINE = 10
const BATCHES_PER_WRITE = 16

/**
 * Collects lines and writes them in batches, one write at a time. After a quiet time a line is written at the end of the
 * event loop's turn; otherwise when the interval since the last write is over, or when a batch is full.
 * Node's thread pool writes to a file descriptor, so a pipe that nobody reads blocks one of its threads and not the event
 * loop; lines are buffered meanwhile. Lines that are not flushed when the process exits are lost.
 * @param destination an open file descriptor (1 is standard output) or a stream.
 */
export function lineWriter(destination: number | LineStream, options: LineWriterOptions = {}): LineWriter {
  const {
    maxBufferedBytes = 16 * 1024 * 1024,
    batchBytes = 64 * 1024,
    intervalMs = 100,
    retryMs = 20,
    onError,
  } = options
  const full: Batch[] = []
  const waiters: { readonly upTo: number; readonly resolve: () => void }[] = []
  /** The lines that are not in a batch yet. */
  let text = ''
  let lines = 0
  /** Size of all lines that are not written yet, including the batch that is being written. */
  let bufferedBytes = 0
  let accepted = 0
  let settled = 0
  let dropped = 0
  let isScheduled = false
  let isWriting = false
  let isClosed = false
  /** Runs during the interval after a write. */
  let pause: NodeJS.Timeout | null = null
  /** The last write failed in the middle of a line. */
  let isMidLine = false

  function write(line: string): void {
    const bytes = line.length + 1
    if (isClosed || bufferedBytes + bytes > maxBufferedBytes) {
      dropped++
      return
    }
    if (lines++ === 0) pause?.ref()
    text += `${line}\n`
    bufferedBytes += bytes
    accepted++
    if (text.length >= batchBytes) {
      closeBatch()
      writeNext()
    } else if (!isScheduled && !isWriting && pause === null) {
      isScheduled = true
      setImmediate(onTurnEnd)
    }
  }

  function onTurnEnd(): void {
    isScheduled = false
    writeNext()
  }

  function onIntervalEnd(): void {
    pause = null
    writeNext()
  }

  function closeBatch(): void {
    full.push({ text, lines })
    text = ''
    lines = 0
  }

  function writeNext(): void {
    if (isWriting) return
    if (full.length === 0 && lines > 0) closeBatch()
    if (full.length === 0) return
    isWriting = true
    clearTimeout(pause ?? undefined)
    // The timer keeps the process alive only while lines wait; see write().
    pause = setTimeout(onIntervalEnd, intervalMs).unref()
    // Batches pile up if the destination is slow or a turn is long. Fewer and larger writes then catch up.
    const batch = merge(full.splice(0, BATCHES_PER_WRITE))
    const bytes = Buffer.from(isMidLine ? `\n${batch.text}` : batch.text)
    if (typeof destination === 'number') writeTo(destination, bytes, 0, batch)
    else writeToStream(destination, bytes, batch)
  }

  function writeTo(fd: number, bytes: Buffer, from: number, batch: Batch): void {
    fs.write(fd, bytes, from, bytes.length - from, null, (error, written) => {
      const to = from + (error === null ? written : 0)
      if (to === bytes.length) settle(batch, 0)
      // EAGAIN: a pipe in non-blocking mode is full. A write of 0 bytes without an error waits as well, so as not to spin.
      else if (error?.code === 'EAGAIN' || (error === null && written === 0)) {
        setTimeout(writeTo, retryMs, fd, bytes, to, batch)
      } else if (error === null) writeTo(fd, bytes, to, batch)
      else {
        isMidLine = to > 0 && bytes[to - 1] !== NEWLINE
        fail(error, batch, Math.min(batch.lines, countNewlines(bytes, to)))
      }
    })
  }

  function writeToStream(stream: LineStream, bytes: Buffer, batch: Batch): void {
    try {
      stream.write(bytes, (error) => {
        if (error) fail(error, batch, batch.lines)
        else settle(batch, 0)
      })
    } catch (error) {
      // Streams report failures to the callback, but a custom one may throw.
      const failure = error instanceof Error ? error : new Error(String(error))
      setImmediate(() => fail(failure, batch, batch.lines))
    }
  }

  function fail(error: Error, batch: Batch, lost: number): void {
    try {
      onError?.(error)
    } catch (thrown) {
      warnAbout('onError of a line writer')(thrown)
    }
    settle(batch, lost)
  }

  /** A batch is done; `lost` of its lines were not written. */
  function settle(batch: Batch, lost: number): void {
    isWriting = false
    if (lost === 0) isMidLine = false
    dropped += lost
    settled += batch.lines
    bufferedBytes -= batch.text.length
    while (waiters.length > 0 && (waiters[0]?.upTo ?? 0) <= settled) waiters.shift()?.resolve()
    if (full.length > 0 || waiters.length > 0 || pause === null) writeNext()
  }

  function flush(): Promise<void> {
    if (settled === accepted) return Promise.resolve()
    const upTo = accepted
    return new Promise((resolve) => {
      waiters.push({ upTo, resolve })
      writeNext()
    })
  }

  async function close(): Promise<void> {
    isClosed = true
    await flush()
    if (typeof destination !== 'number') destination.off('error', nothing)
  }

  // Each write's callback gets the error too. Without a listener the event would end the process.
  if (typeof destination !== 'number') destination.on('error', nothing)
  return {
    write,
    get dropped() {
      return dropped
    },
    flush,
    close,
    [Symbol.asyncDispose]: close,
  }
}

function merge(batches: readonly Batch[]): Batch {
  return {
    text: batches.map((batch) => batch.text).join(''),
    lines: batches.reduce((sum, batch) => sum + batch.lines, 0),
  }
}

function countNewlines(bytes: Buffer, from: number): number {
  let count = 0
  for (let at = bytes.indexOf(NEWLINE, from); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++
  return count
}

function nothing(): void {}
