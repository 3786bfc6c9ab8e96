import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OutgoingRequest, Transform } from '../../src/contracts/transform.ts'
import type { ExchangeView } from '../../src/model/exchange-view.ts'
import { addPrefix, stripPrefix } from '../../src/transforms/index.ts'

test('stripPrefix removes whole segments, keeps the query and always leaves a path', () => {
  const cases: [path: string, expected: string][] = [
    ['/api/users', '/users'],
    ['/api/users?x=/api', '/users?x=/api'],
    ['/api/', '/'],
    ['/api', '/'],
    ['/api?x', '/?x'],
    ['/api/?x', '/?x'],
    ['/api//x', '//x'],
    ['/apix', '/apix'],
    ['/apix?a', '/apix?a'],
    ['/other/api/x', '/other/api/x'],
    ['/', '/'],
    ['*', '*'],
  ]
  for (const prefix of ['/api', '/api/']) {
    for (const [path, expected] of cases) assert.equal(pathAfter(stripPrefix(prefix), path), expected, path)
  }
})

test('stripPrefix of the root changes nothing', () => {
  for (const path of ['/', '/x', '/?x', '//x']) assert.equal(pathAfter(stripPrefix('/'), path), path)
})

test('addPrefix puts a prefix before the path', () => {
  const cases: [path: string, expected: string][] = [
    ['/', '/v1/'],
    ['/x?y', '/v1/x?y'],
    ['/?y', '/v1/?y'],
    ['*', '*'],
  ]
  for (const prefix of ['/v1', '/v1/']) {
    for (const [path, expected] of cases) assert.equal(pathAfter(addPrefix(prefix), path), expected, path)
  }
})

test('stripPrefix and addPrefix together replace a prefix', () => {
  const request = requestWith('/old/x?y')
  for (const transform of [stripPrefix('/old'), addPrefix('/new')]) transform.request?.(request, {} as ExchangeView)
  assert.equal(request.path, '/new/x?y')
})

test('an invalid prefix is rejected at construction', () => {
  for (const make of [stripPrefix, addPrefix]) {
    for (const wrong of ['', 'api', '/a b', '/a?b', '/a#b', '/é', '/a\r\n', 5, null]) {
      assert.throws(() => make(wrong as string), { name: 'TypeError', message: /starts with "\/"/ })
    }
  }
})

function pathAfter(transform: Transform, path: string): string {
  const request = requestWith(path)
  transform.request?.(request, {} as ExchangeView)
  return request.path
}

function requestWith(path: string): OutgoingRequest {
  return { method: 'GET', path, headers: {} as OutgoingRequest['headers'] }
}
