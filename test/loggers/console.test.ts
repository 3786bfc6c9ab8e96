import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type ConsoleLoggerOptions, consoleLogger } from '../../src/loggers/console.ts'
import { Backend } from '../../src/model/backend.ts'
import { ProxyError } from '../../src/model/errors.ts'
import { loggerSuite } from '../../src/testing/logger-suite.ts'

/** A stream that keeps what it is sent. */
function memory(isTTY = false): { stream: NonNullable<ConsoleLoggerOptions['stream']>; text: () => string } {
  let text = ''
  const write = (more: string): void => {
    text += more
  }
  return { stream: { write, isTTY, hasColors: () => isTTY }, text: () => text }
}

loggerSuite('consoleLogger, json', () => consoleLogger({ level: 'debug', stream: memory().stream }), { describe, test })
loggerSuite('consoleLogger, pretty', () => consoleLogger({ level: 'debug', stream: memory(true).stream }), {
  describe,
  test,
})

test('a level includes those above it', () => {
  const expected = { debug: 4, info: 3, warn: 2, error: 1, silent: 0 }
  for (const [level, count] of Object.entries(expected) as [keyof typeof expected, number][]) {
    const { stream, text } = memory()
    const logger = consoleLogger({ level, stream })
    for (const method of ['debug', 'info', 'warn', 'error'] as const) logger[method]({}, 'm')
    assert.equal(text().split('\n').length - 1, count, level)
  }
})

test('an unknown level is rejected at construction', () => {
  assert.throws(
    () => consoleLogger({ level: 'loud' as 'info' }),
    /level is "loud"; use one of debug, info, warn, error, silent/,
  )
})

test('off a terminal it writes JSON lines that fields cannot forge', () => {
  const { stream, text } = memory()
  consoleLogger({ stream }).warn(
    { level: 'debug', msg: 'no', path: '/a\n{"level":"error"}\x1b[2J\x9b\u2028' },
    'two\nlines',
  )
  assert.equal(text().indexOf('\n'), text().length - 1)
  const line = JSON.parse(text())
  assert.equal(line.level, 'warn')
  assert.equal(line.msg, 'two\nlines')
  assert.equal(line.path, '/a\n{"level":"error"}\x1b[2J\x9b\u2028')
  assert.doesNotMatch(text().trimEnd(), /[\p{Cc}\u2028]/u)
  assert.ok(Math.abs(Date.parse(line.time) - Date.now()) < 60_000)
})

test("JSON has an error's code, message, stack and causes, and a backend's id", () => {
  const { stream, text } = memory()
  const backend = new Backend({ url: 'https://127.0.0.1:1', id: 'b1', tls: { key: 'PRIVATE KEY' } })
  const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', syscall: 'connect' })
  const err = new ProxyError('ERR_PROXY_CONNECT', 'refused', { backend, attempt: 2, cause })
  consoleLogger({ stream }).error({ err, backend }, 'failed')
  const line = JSON.parse(text())
  assert.equal(line.err.type, 'ProxyError')
  assert.equal(line.err.code, 'ERR_PROXY_CONNECT')
  assert.equal(line.err.message, 'refused')
  assert.equal(line.err.phase, 'connect')
  assert.equal(line.err.attempt, 2)
  assert.match(line.err.stack, /console\.test/)
  assert.equal(line.err.cause.code, 'ECONNREFUSED')
  assert.equal(line.err.backend, 'b1')
  assert.equal(line.backend, 'b1')
  assert.doesNotMatch(text(), /PRIVATE KEY/)
})

test('JSON cuts only circles, also through causes', () => {
  const { stream, text } = memory()
  const shared = { a: 1 }
  const circle: Record<string, unknown> = { first: shared, second: shared }
  circle.self = circle
  const err = new Error('own cause')
  err.cause = err
  consoleLogger({ stream }).info({ circle, err }, 'm')
  const line = JSON.parse(text())
  assert.deepEqual(line.circle, { first: { a: 1 }, second: { a: 1 }, self: '[circular]' })
  assert.equal(line.err.cause, '[circular]')
})

test('an unreadable field does not lose the line', () => {
  const { stream, text } = memory()
  const logger = consoleLogger({ stream })
  const boom = (): never => {
    throw new Error('unreadable')
  }
  logger.info(Object.defineProperty({ good: 1 }, 'bad', { enumerable: true, get: boom }), 'getter')
  logger.info({ bad: { toJSON: boom } }, 'toJSON')
  const [first, second] = text()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual([first.msg, first.good, first.bad], ['getter', 1, '[threw: unreadable]'])
  assert.deepEqual([second.msg, second.unreadable], ['toJSON', true])
})

test('on a terminal it writes colours, key=value and stacks', () => {
  const { stream, text } = memory(true)
  const err = Object.assign(new Error('no way', { cause: new Error('the reason') }), { code: 'ENOWAY' })
  consoleLogger({ stream }).warn({ backend: 'b1', path: '/a b', n: 3, gone: undefined, err }, 'it\x1b[2J failed\n')
  const [line = '', ...rest] = text().split('\n')
  assert.ok(line.includes('\x1b[33mWARN \x1b[39m'))
  const plain = line.replaceAll(`\x1b[`, '<').replaceAll(/<\d+m/g, '')
  assert.match(
    plain,
    /^\d\d:\d\d:\d\d WARN {2}it\\u001b\[2J failed\\u000a backend=b1 path="\/a b" n=3 err="no way \(ENOWAY\)"$/,
  )
  const stack = rest.join('\n')
  assert.match(stack, /Error: no way\n.*console\.test/)
  assert.match(stack, /caused by:\n.*the reason/)
})

test('pretty without a terminal has no colours', () => {
  const { stream, text } = memory()
  consoleLogger({ stream, format: 'pretty' }).info({}, 'plain')
  assert.match(text(), /^\d\d:\d\d:\d\d INFO {2}plain\n$/)
})

test('a stream that throws or fails does no harm', () => {
  const heard: string[] = []
  const failing = {
    write(_text: string, done?: (error?: Error | null) => void) {
      done?.(new Error('EPIPE'))
      throw new Error('EPIPE')
    },
    listenerCount: () => 0,
    once: (event: string) => heard.push(event),
  }
  consoleLogger({ stream: failing }).error({}, 'm')
  assert.deepEqual(heard, ['error'])
})
