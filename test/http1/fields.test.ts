import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contentLength, hasListToken, isName } from '../../src/http1/fields.ts'

test('names are compared in any case, with non-ASCII letters', () => {
  assert.ok(isName('Content-Length', 'content-length'))
  assert.ok(isName('X_ID', 'x_id'))
  assert.ok(isName('_Id', '_id'))
  assert.ok(!isName('Content-Lengths', 'content-length'))
  assert.ok(!isName('Content-Lengtj', 'content-length'))
  // One bit apart, as upper and lower case letters are.
  assert.ok(!isName('^a', '~a'))
})

test('a Content-Length is digits, up to 15 of them', () => {
  assert.equal(contentLength('0'), 0)
  assert.equal(contentLength('007'), 7)
  assert.equal(contentLength('999999999999999'), 999_999_999_999_999)
  for (const text of ['', ' 1', '1 ', '+1', '-1', '1,1', '0x1', '1e3', '١', '1000000000000000']) {
    assert.equal(contentLength(text), -1, JSON.stringify(text))
  }
})

test('a token is found in a list', () => {
  assert.ok(hasListToken('close', 'close'))
  assert.ok(hasListToken(' Close ', 'close'))
  assert.ok(hasListToken('keep-alive, CLOSE', 'close'))
  assert.ok(!hasListToken('closed', 'close'))
  assert.ok(!hasListToken('keep-alive, x-close', 'close'))
})
