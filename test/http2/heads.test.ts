import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fieldsOf, requestFieldsOf } from '../../src/http2/heads.ts'

test('a request to a backend: no host, no field of a connection, of te only trailers', () => {
  const fields = [
    'Host',
    'a',
    'TE',
    'gzip',
    'X-A',
    '1',
    'te',
    'Trailers',
    'Connection',
    'x-a',
    'Upgrade',
    'b',
    'X-A',
    '2',
  ]
  assert.deepEqual(requestFieldsOf(fields), ['x-a', '1', 'te', 'Trailers', 'x-a', '2'])
})

test('values have no white space at their ends, and keep other bytes', () => {
  assert.deepEqual(fieldsOf(['A', ' \t1 2\t ', 'B', '\u00a03\u00a0']), ['a', '1 2', 'b', '\u00a03\u00a0'])
})

test('names that were seen before are right, however many there are', () => {
  for (let i = 0; i < 3_000; i++)
    assert.deepEqual(fieldsOf([`X-${i}`, 'v', 'X-Same', 'v']).slice(0, 4), [`x-${i}`, 'v', 'x-same', 'v'])
})
