import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OptionsError } from '../../src/config/options-error.ts'
import { resolveOptions } from '../../src/config/resolve.ts'
import type { ProxyOptions } from '../../src/index.ts'
import { addPrefix, stripPrefix } from '../../src/transforms/index.ts'

const target = 'http://127.0.0.1:3000'

function faultOf(options: ProxyOptions): string {
  try {
    resolveOptions({ target, ...options })
  } catch (error) {
    assert.ok(error instanceof OptionsError)
    return error.faults.map(({ path, message }) => `${path} ${message}`).join('\n')
  }
  return ''
}

test('the path of a route may have any spelling', () => {
  for (const [path, compared] of [
    ['/%61dmin', '/admin'],
    ['/a//b', '/a/b'],
    ['//', '/'],
    ['/a/', '/a'],
    ['/caf%c3%a9', '/caf\xc3\xa9'],
    ['/a%20b', '/a b'],
    ['/%40x', '/@x'],
    ['/100%25', '/100%25'],
  ] as const) {
    assert.equal(resolveOptions({ target, routes: [{ path }] }).routes[0]?.path, compared)
  }
  assert.equal(resolveOptions({ target, routes: [{ path: '/%61//', exact: true }] }).routes[0]?.path, '/a/')
})

test('an invalid path is rejected with a suggestion', () => {
  for (const [path, message] of [
    ['/a/../b', 'has dot segments, which are resolved in requests; did you mean "/b"?'],
    ['/a/%2E', 'has dot segments, which are resolved in requests; did you mean "/a/"?'],
    ['/café', 'has characters that are invalid in a path; did you mean "/caf%C3%A9"?'],
    ['/a b', 'has characters that are invalid in a path; did you mean "/a%20b"?'],
    ['/a\\b', 'has characters that are invalid in a path; did you mean "/a/b"?'],
    ['/a?b', 'has characters that are invalid in a path; did you mean "/a"?'],
    ['/a#b', 'has characters that are invalid in a path; did you mean "/a"?'],
    ['/100%', 'has an invalid percent-encoding; did you mean "/100%25"?'],
    ['/\ud800', 'has characters that are invalid in a path; did you mean "/%EF%BF%BD"?'],
    ['api', 'does not start with /; did you mean "/api"?'],
  ] as const) {
    for (const key of ['path', 'stripPrefix', 'addPrefix']) {
      assert.equal(faultOf({ routes: [{ [key]: path }] }), `routes[0].${key} ${message}`)
    }
    for (const make of [stripPrefix, addPrefix]) {
      assert.throws(
        () => make(path),
        (error: Error) => error instanceof TypeError && error.message.endsWith(message),
      )
    }
  }
})

test('an encoded slash in a path is rejected unless such requests pass', () => {
  const message = 'has %2f, so no request can match it: routing.encodedSlashes is'
  for (const key of ['path', 'stripPrefix']) {
    const routes = [{ [key]: '/a%2fb' }]
    assert.equal(faultOf({ routes }), `routes[0].${key} ${message} 'refuse'; did you mean '/a/b'?`)
    assert.equal(
      faultOf({ routes, routing: { encodedSlashes: 'decode' } }),
      `routes[0].${key} ${message} 'decode'; did you mean '/a/b'?`,
    )
    assert.equal(faultOf({ routes, routing: { encodedSlashes: 'pass' } }), '')
  }
  assert.equal(faultOf({ routes: [{ addPrefix: '/a%2fb' }] }), '')
})

test('routing.encodedSlashes is one of three words', () => {
  assert.deepEqual(resolveOptions({ target }).routing, { encodedSlashes: 'refuse' })
  for (const encodedSlashes of ['refuse', 'decode', 'pass'] as const) {
    assert.deepEqual(resolveOptions({ target, routing: { encodedSlashes } }).routing, { encodedSlashes })
  }
  assert.deepEqual(resolveOptions({ target, routing: {} }).routing, { encodedSlashes: 'refuse' })
  assert.match(faultOf({ routing: { encodedSlashes: 'keep' as 'pass' } }), /^routing\.encodedSlashes /)
  assert.match(faultOf({ routing: { slashes: 'pass' } as object }), /^routing\.slashes is unknown/)
})
