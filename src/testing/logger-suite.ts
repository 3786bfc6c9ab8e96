import assert from 'node:assert/strict'
import type { Logger } from '../contracts/logger.ts'
import { Backend } from '../model/backend.ts'
import { ProxyError } from '../model/errors.ts'
import type { SuiteRunner } from './suite-runner.ts'

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** Fields that a {@link Logger} must accept, by name. */
const FIELDS: readonly [what: string, make: () => object][] = [
  ['no fields', () => ({})],
  ['plain fields', () => ({ id: 1, ok: true, none: null, missing: undefined, at: new Date(0) })],
  ['frozen fields', () => Object.freeze({ id: 1 })],
  ['fields without a prototype', () => Object.assign(Object.create(null) as object, { id: 1 })],
  ['an error with a cause', () => ({ err: new Error('outer', { cause: new Error('inner') }) })],
  ['a proxy error', () => ({ err: proxyError() })],
  ['a circle', circle],
  ['a bigint and a symbol', () => ({ big: 1n, symbol: Symbol('s') })],
]

/**
 * Registers the tests that every {@link Logger} must pass. Call it in a test file:
 * `loggerSuite('my logger', () => myLogger(), { test, describe })`.
 * @param factory creates a logger for each test.
 * @param runner functions of your test runner.
 */
export function loggerSuite(name: string, factory: () => Logger, { test, describe }: SuiteRunner): void {
  describe(`${name} is a Logger`, () => {
    test('it has the four levels', () => {
      const logger = factory()
      for (const level of LEVELS) assert.equal(typeof logger[level], 'function', level)
    })

    test('a call returns undefined', () => {
      const logger = factory()
      for (const level of LEVELS) {
        const returned: unknown = logger[level]({ id: 1 }, 'a message')
        assert.equal(returned, undefined, level)
      }
    })

    for (const [what, make] of FIELDS) {
      test(`it takes ${what} at every level without throwing`, () => {
        const logger = factory()
        for (const level of LEVELS) logger[level](make(), `a message with ${what}`)
      })
    }

    test('it takes any message without throwing', () => {
      const logger = factory()
      for (const message of ['', 'two\nlines', '\x1b[31mcolour\x07', '%s %d %o', '\ud800', 'x'.repeat(100_000)]) {
        for (const level of LEVELS) logger[level]({}, message)
      }
    })

    test('it does not change the fields', () => {
      const logger = factory()
      const fields = { id: 1, nested: { list: [1, 2] }, err: null }
      for (const level of LEVELS) logger[level](fields, 'a message')
      assert.deepEqual(fields, { id: 1, nested: { list: [1, 2] }, err: null })
    })
  })
}

function proxyError(): ProxyError {
  const backend = new Backend('http://127.0.0.1:1')
  return new ProxyError('ERR_PROXY_CONNECT', 'refused', { backend, attempt: 2, cause: new Error('ECONNREFUSED') })
}

function circle(): object {
  const fields: { self?: object; list: object[] } = { list: [] }
  fields.self = fields
  fields.list.push(fields)
  return fields
}
