import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import type { Logger } from '../../src/contracts/logger.ts'
import { toLogger } from '../../src/loggers/adapt.ts'
import { loggerSuite } from '../../src/testing/logger-suite.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** A pino that keeps its lines. */
function memoryPino(options: object = {}): {
  logger: pino.Logger<string, boolean>
  lines: () => Record<string, unknown>[]
} {
  const texts: string[] = []
  const logger = pino<string, boolean>(
    { level: 'debug', ...options },
    { write: (text: string) => void texts.push(text) },
  )
  return { logger, lines: () => texts.map((text) => JSON.parse(text) as Record<string, unknown>) }
}

/** An object in the manner of `console` that keeps its calls. */
function consoleOf(calls: unknown[][]): Console {
  const keep =
    (level: string) =>
    (...args: unknown[]) =>
      void calls.push([level, ...args])
  const kept = Object.fromEntries(['log', ...LEVELS].map((level) => [level, keep(level)]))
  return { ...globalThis.console, ...kept } as Console
}

loggerSuite('pino as it is', () => memoryPino().logger as unknown as Logger, { describe, test })
loggerSuite('toLogger(pino)', () => toLogger(memoryPino().logger), { describe, test })
loggerSuite('toLogger(console-like)', () => toLogger(consoleOf([])), { describe, test })

test('a pino gets the fields first', () => {
  const { logger, lines } = memoryPino()
  for (const level of LEVELS) toLogger(logger)[level]({ backend: 'b1', err: new Error('why') }, 'said')
  assert.deepEqual(
    lines().map((line) => [line.level, line.msg, line.backend, (line.err as Error).message]),
    [20, 30, 40, 50].map((level) => [level, 'said', 'b1', 'why']),
  )
})

test('a pino keeps its level, even a changed one, and its bindings', () => {
  const { logger, lines } = memoryPino({ level: 'warn' })
  const adapted = toLogger(logger.child({ part: 'proxy' }))
  adapted.info({}, 'not written')
  adapted.warn({}, 'written')
  assert.deepEqual(
    lines().map((line) => [line.msg, line.part]),
    [['written', 'proxy']],
  )
  const changing = toLogger(logger)
  logger.level = 'info'
  changing.info({}, 'written now')
  assert.equal(lines().at(-1)?.msg, 'written now')
})

test('a pino with a custom level called log is still a pino', () => {
  const { logger, lines } = memoryPino({ customLevels: { log: 35 } })
  toLogger(logger).info({ a: 1 }, 'said')
  assert.deepEqual([lines()[0]?.msg, lines()[0]?.a], ['said', 1])
})

test('a console gets the message first', () => {
  const calls: unknown[][] = []
  const adapted = toLogger(consoleOf(calls))
  const fields = { a: 1 }
  for (const level of LEVELS) adapted[level](fields, 'said')
  assert.deepEqual(
    calls,
    LEVELS.map((level) => [level, 'said', fields]),
  )
})

test('methods of the global console are looked up at each call', (t) => {
  const adapted = toLogger(console)
  const info = t.mock.method(console, 'info', () => {})
  adapted.info({ a: 1 }, 'said')
  assert.deepEqual(info.mock.calls[0]?.arguments, ['said', { a: 1 }])
})

test('debug is optional, warn is not', () => {
  const calls: string[] = []
  const say = (_fields: unknown, message: unknown): void => void calls.push(String(message))
  toLogger({ info: say, warn: say, error: say } as unknown as Logger).debug({}, 'lost')
  assert.deepEqual(calls, [])
  for (const bad of [undefined, null, 'loud', 7, {}, { info: say, error: say }]) {
    assert.throws(() => toLogger(bad as unknown as Logger), TypeError)
  }
})

test('methods are called with their this', () => {
  class Own {
    readonly seen: string[] = []
    debug(_fields: object, message: string): void {
      this.seen.push(message)
    }
    info = this.debug
    warn = this.debug
    error = this.debug
  }
  const own = new Own()
  toLogger(own).info({}, 'said')
  assert.deepEqual(own.seen, ['said'])
})

test('a logger that throws or rejects is reported once', async () => {
  const boom = (): never => {
    throw new Error('disk full')
  }
  const reject = (): Promise<never> => Promise.reject(new Error('disk full'))
  for (const bad of [boom, reject]) {
    const heard: string[] = []
    const hear = (warning: Error & { code?: string }): void => void heard.push(`${warning.code} ${warning.message}`)
    process.on('warning', hear)
    const told = once(process, 'warning')
    const adapted = toLogger({ debug: bad, info: bad, warn: bad, error: bad } as unknown as Logger)
    for (const level of LEVELS) adapted[level]({}, 'm')
    await told
    await new Promise(setImmediate)
    process.off('warning', hear)
    assert.deepEqual(heard, ['HEDDLE_LOGGER_FAILED the logger failed, and a log line is lost: disk full'])
  }
})

test('an adapted logger can be adapted again', () => {
  const recorder = recordingLogger()
  toLogger(toLogger(recorder)).warn({ a: 1 }, 'said')
  assert.deepEqual(recorder.entries, [{ level: 'warn', fields: { a: 1 }, message: 'said' }])
})
