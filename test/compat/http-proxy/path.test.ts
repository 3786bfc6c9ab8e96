import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sentPath, wholePath } from '../../../src/compat/http-proxy/path.ts'
import { Targets } from '../../../src/compat/http-proxy/target.ts'

type Case = readonly [what: string, target: string, url: string, options: object, whole: string]

const CASES: readonly Case[] = [
  ['nothing to join', 'http://a', '/x?y=1', {}, '/x?y=1'],
  ['the path of the target goes first', 'http://a/base', '/x', {}, '/base/x'],
  ['with one slash between them', 'http://a/base/', '/x', {}, '/base/x'],
  ['a slash at the end stays', 'http://a/base', '/', {}, '/base/'],
  ['doubled slashes stay', 'http://a', '//x///y', {}, '//x///y'],
  ['and below a path', 'http://a/base', '//x', {}, '/base//x'],
  ['queries are joined', 'http://a/base?a=1&b=2', '/x?c=3', {}, '/base/x?a=1&b=2&c=3'],
  ['a query of the target alone', 'http://a/base?a=1', '/x', {}, '/base/x?a=1'],
  ['question marks in a query stay', 'http://a/base', '/?a=b?c', {}, '/base/?a=b?c'],
  ['no path', 'http://a/base', '', {}, '/base'],
  ['a query alone', 'http://a/base', '?a=1', {}, '/base?a=1'],
  ['no path for no path', 'http://a', '', {}, '/'],
  ['prependPath: false', 'http://a/base?a=1', '/x', { prependPath: false }, '/x'],
  ['ignorePath', 'http://a/base?a=1', '/x?b=2', { ignorePath: true }, '/base?a=1'],
  ['ignorePath keeps a slash at the end', 'http://a/base/', '/x', { ignorePath: true }, '/base/'],
  ['both', 'http://a/base', '/x', { ignorePath: true, prependPath: false }, '/'],
  ['a whole URL', 'http://a/base?a=1', 'http://b/x?y=1', {}, '/base/x?a=1&y=1'],
]

for (const [what, target, url, options, whole] of CASES) {
  test(`path: ${what}`, () => {
    const targets = new Targets()
    const destination = targets.read(targets.parse(target), {})
    assert.equal(wholePath(destination, sentPath(destination, options, url), url), whole)
  })
}

test('path: the engine gets the target with its path, so that no request leads out of it', () => {
  const targets = new Targets()
  const destination = targets.read(targets.parse('https://a:8443/base/'), {})
  assert.deepEqual(sentPath(destination, {}, '/../x'), { base: 'https://a:8443/base/', path: undefined })
})

test('path: below a unix socket', () => {
  const destination = new Targets().read({ socketPath: '/tmp/a b.sock', pathname: '/base' }, {})
  assert.deepEqual(sentPath(destination, {}, '/x'), { base: 'http+unix:///tmp/a%20b.sock:/base', path: undefined })
})
