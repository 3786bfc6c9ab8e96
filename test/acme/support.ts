import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { Logger } from '../../src/index.ts'

/** A logger that a test can wait for. */
export interface WaitingLogger extends Logger {
  readonly lines: string[]
  /** Resolves with the next line that matches, and that no earlier call has returned. */
  next(pattern: RegExp): Promise<string>
}

export function waitingLogger(): WaitingLogger {
  const lines: string[] = []
  const events = new EventEmitter()
  let read = 0
  const write = (level: string) => (_fields: object, message: string) => {
    lines.push(`${level}: ${message}`)
    events.emit('line')
  }
  return {
    lines,
    debug() {},
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    async next(pattern) {
      for (;;) {
        for (; read < lines.length; read++) if (pattern.test(lines[read] as string)) return lines[read++] as string
        await once(events, 'line')
      }
    },
  }
}

/** A folder that is removed at the end of the test. */
export function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-acme-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
