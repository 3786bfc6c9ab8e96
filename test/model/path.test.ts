import assert from 'node:assert/strict'
import { test } from 'node:test'
import { afterPrefix, below, confinePath, type EncodedSlashes, normalPath, readPath } from '../../src/model/path.ts'

/** `[given, sent, matched]`; where `matched` is left out it is what is sent, without the query. */
type Reading = readonly [given: string, sent: string, matched?: string]

function check(encodedSlashes: EncodedSlashes, readings: readonly Reading[]): void {
  for (const [given, sent, matched = sent.split('?')[0]] of readings) {
    assert.deepEqual(readPath(given, encodedSlashes), { path: sent, matched, fault: null }, given)
  }
}

test('dot segments are resolved, encoded ones too, and the query is left alone', () => {
  check('refuse', [
    ['/a/../b', '/b'],
    ['/a/./b', '/a/b'],
    ['/a/b/..', '/a/'],
    ['/../../x', '/x'],
    ['/a/%2e%2E/b?q=/../x', '/b?q=/../x'],
    ['/a/.%2e/b', '/b'],
    ['/.well-known/x', '/.well-known/x'],
    ['/a/..b/c...', '/a/..b/c...'],
    ['/?a=/../b', '/?a=/../b'],
    ['/?a=%2f%5c%00%zz//', '/?a=%2f%5c%00%zz//'],
    ['/a//../b', '/a/b'],
    ['*', '*'],
  ])
})

test('routes compare decoded paths; the backend gets the received bytes', () => {
  check('refuse', [
    ['/%61dmin', '/%61dmin', '/admin'],
    ['/%61%64%6D%6d?%61', '/%61%64%6D%6d?%61', '/admm'],
    ['/%40x:y', '/%40x:y', '/@x:y'],
    ['//admin', '//admin', '/admin'],
    ['/a///b//', '/a///b//', '/a/b/'],
    ['//a//../b', '//a/b', '/a/b'],
    ['/caf%c3%A9', '/caf%c3%A9', '/caf\xc3\xa9'],
    ['/%252e%252E/x%252fy', '/%252e%252E/x%252fy', '/%252e%252E/x%252fy'],
    ['/admin;a=1', '/admin;a=1'],
    ['/admin.', '/admin.'],
    ['/a%3Fb', '/a%3Fb', '/a?b'],
  ])
})

test('paths that backends read in different ways are refused', () => {
  for (const [path, fault] of [
    ['/admin%2fx', /%2f in its path/],
    ['/x/..%2Fadmin', /%2F in its path/],
    ['/x/..%5cadmin', /%5c in its path/],
    ['/admin%00', /%00 in its path/],
    ['/x/..;/admin', /dot segment with a parameter/],
    ['/x/%2e.;a=1/admin', /dot segment with a parameter/],
    ['/x/..%3b/admin', /dot segment with a parameter/],
    ['/%c0%ae%C0%ae/admin', /overlong/],
    ['/x%c0%afadmin', /overlong/],
    ['/x%e0%80%afadmin', /overlong/],
    ['/x%f0%80%80%afadmin', /overlong/],
    ['/x%c1%9cadmin', /overlong/],
    ['/%u0061dmin', /invalid percent-encoding/],
    ['/100%', /invalid percent-encoding/],
    ['/a%2%66b', /invalid percent-encoding/],
  ] as const) {
    assert.match(readPath(path, 'refuse').fault ?? '', fault, path)
    assert.equal(readPath(`/?${path}`, 'refuse').fault, null, path)
  }
})

test("'decode' decodes slashes before dots are resolved", () => {
  check('decode', [
    ['/admin%2fx?a%2fb', '/admin/x?a%2fb'],
    ['/x/..%2Fadmin', '/admin'],
    ['/x%2f..%2fadmin', '/admin'],
    ['/x%5C..%5cadmin', '/admin'],
    ['/%2fadmin', '//admin', '/admin'],
    ['/%2e%2e%2f%61dmin', '/%61dmin', '/admin'],
    ['/a%252fb', '/a%252fb'],
  ])
  assert.match(readPath('/a%00', 'decode').fault ?? '', /%00/)
  assert.match(readPath('/x%2f..;/admin', 'decode').fault ?? '', /parameter/)
})

test("'pass' treats encoded slashes as ordinary characters", () => {
  check('pass', [
    ['/admin%2fx', '/admin%2fx', '/admin%2Fx'],
    ['/x/..%2fadmin', '/x/..%2fadmin', '/x/..%2Fadmin'],
    ['/a%5cb%00', '/a%5cb%00', '/a%5Cb%00'],
    ['/x/../%61%2F', '/%61%2F', '/a%2F'],
  ])
})

test('encoded slashes cannot lead out of a prefix', () => {
  for (const path of ['/a%2Fb', '/%40scope%2fname', '/a%5cb', '/100%', '//x', '/a%2f.b/..c%2fd']) {
    assert.deepEqual([confinePath(path, 'refuse').path, confinePath(path, 'refuse').fault], [path, null], path)
  }
  assert.equal(confinePath('/../%2e%2e/x', 'refuse').path, '/x')
  for (const path of [
    '/%2f..;%2f..;%2fx',
    '/..%u002fx',
    '/..%2fx',
    '/x/..%2f..%2fy',
    '/a%5c..%5cb',
    '/%2e%2e%5Cx',
    '/..%00/x',
    '/..;/x',
    '/%c0%ae./x',
  ]) {
    assert.notEqual(confinePath(path, 'refuse').fault, null, path)
  }
  assert.equal(confinePath('/..%2fx', 'pass').path, '/..%2fx')
  for (const mode of ['pass', 'decode'] as const) assert.equal(confinePath('/100%', mode).fault, null)
  assert.equal(confinePath('/a/..%2fx', 'decode').path, '/x')
})

test('the rest after a prefix keeps its bytes, for any spelling of it', () => {
  for (const [target, prefix, rest] of [
    ['/api/x', '/api', '/x'],
    ['/api', '/api', ''],
    ['/api?q', '/api', '?q'],
    ['/%61pi/%78', '/api', '/%78'],
    ['//api//x', '/api', '//x'],
    ['/%61%70%69', '/api', ''],
    ['/a//b/c', '/a/b', '/c'],
    ['/a%2fb/c', '/a%2Fb', '/c'],
    ['/a%252fb', '/a%252fb', ''],
    ['/caf%C3%a9/x', '/caf\xc3\xa9', '/x'],
    ['/a%3fb/x', '/a?b', '/x'],
    ['/x', '', '/x'],
    ['/apix', '/api', null],
    ['/api%2fx', '/api', null],
    ['/ap', '/api', null],
    ['/a?b/x', '/a?b', null],
    ['/%61p%2569', '/api', null],
    ['*', '/api', null],
  ] as const) {
    assert.equal(afterPrefix(target, prefix), rest, `${target} after ${prefix}`)
  }
})

test('a normal form is its own normal form', () => {
  for (const path of ['/%2541', '/%25%34%31', '/a%2f%2F//b', '/%5c%00%7e'])
    assert.equal(normalPath(normalPath(path)), normalPath(path), path)
})

test('joining a prefix adds no slash that the client did not send', () => {
  for (const [base, path, target, joined] of [
    ['/v1', '/x?q', '/api/x?q', '/v1/x?q'],
    ['/v1', '/', '/', '/v1/'],
    ['/v1', '/', '', '/v1/'],
    ['/v1', '/?q', '?q', '/v1/?q'],
    ['/v1', '/', 'http://x', '/v1/'],
    ['/v1', '/?q', 'http://x?q', '/v1/?q'],
    ['/v1', '/', '/api', '/v1'],
    ['/v1', '/?q', '/api?q=/', '/v1?q'],
    ['/v1', '/', 'http://x/api', '/v1'],
    ['/v1', '/', '/api/', '/v1/'],
    ['/v1', '/', '/api/%2e', '/v1/'],
    ['/v1', '/', '/api/x/..', '/v1/'],
    ['/v1', '/', '/api/x..', '/v1'],
    ['', '/', '/api', '/'],
    ['/v1', '*', '*', '*'],
  ] as const) {
    assert.equal(below(base, path, target), joined, `${base} ${path} of ${target}`)
  }
})
