import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { loggerSuite } from '../../src/testing/logger-suite.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'

loggerSuite('recordingLogger', recordingLogger, { describe, test })

test('it keeps level, fields and message, in order', () => {
  const logger = recordingLogger()
  const { warn, debug } = logger
  const fields = { a: 1 }
  warn(fields, 'first')
  debug({}, 'second')
  assert.deepEqual(logger.entries, [
    { level: 'warn', fields: { a: 1 }, message: 'first' },
    { level: 'debug', fields: {}, message: 'second' },
  ])
  assert.equal(logger.entries[0]?.fields, fields)
  assert.deepEqual(logger.messages(), ['first', 'second'])
  assert.deepEqual(logger.messages('warn'), ['first'])
  logger.clear()
  assert.deepEqual(logger.entries, [])
})
