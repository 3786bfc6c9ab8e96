import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { hashKey } from '../../src/balancers/hashing/hash-key.ts'
import { resolveOptions } from '../../src/config/resolve.ts'
import { responseHeaders } from '../../src/headers/response.ts'
import { isHost, removeField, removeFields } from '../../src/http1/fields.ts'
import type { HeaderList } from '../../src/index.ts'
import { createRouter } from '../../src/routing/router.ts'
import { exchangeView } from '../../src/testing/exchange-view.ts'

/** A list that counts how often it is written to. */
function counted(list: HeaderList): { list: HeaderList; writes(): number } {
  let writes = 0
  const proxy = new Proxy(list, {
    set(target, key, value) {
      writes++
      return Reflect.set(target, key, value)
    },
    deleteProperty(target, key) {
      writes++
      return Reflect.deleteProperty(target, key)
    },
  })
  return { list: proxy, writes: () => writes }
}

/** `x: <i>` and `y: <i>` in turn. */
function many(count: number): HeaderList {
  return Array.from({ length: count }, (_, i) => [i % 2 === 0 ? 'X' : 'Y', String(i)]).flat()
}

test('removing a name moves each of the others once', () => {
  const { list, writes } = counted(many(1000))
  removeField(list, 'x')
  assert.deepEqual(
    [...list],
    many(1000).filter((_, i) => i % 4 > 1),
  )
  assert.ok(writes() <= 1001, `${writes()} writes`)
})

test('removing several names moves each of the others once', () => {
  const { list, writes } = counted(many(1000))
  removeFields(list, (lower) => lower === 'y')
  assert.deepEqual(
    [...list],
    many(1000).filter((_, i) => i % 4 < 2),
  )
  assert.ok(writes() <= 1001, `${writes()} writes`)
})

test('what a backend nominates is looked up, not searched', () => {
  const nominated = Array.from({ length: 300 }, (_, i) => `n${i}`)
  const raw = ['Connection', nominated.join(', '), ...nominated.flatMap((name) => [name, '1']), 'Kept', '1']
  const split = mock.method(String.prototype, 'split')
  const headers = responseHeaders(raw, { bodyBytes: -1, isBodiless: false, takesTrailers: false, via: '' })
  const { length } = split.mock.calls
  split.mock.restore()
  assert.deepEqual(headers, ['Kept', '1'])
  assert.equal(length, 1)
})

test('a host has 255 bytes at most', () => {
  assert.equal(isHost('a'.repeat(255)), true)
  assert.equal(isHost('a'.repeat(256)), false)
  assert.equal(isHost(`${'a.'.repeat(127)}a:1`), false)
})

/** Look-ups in maps while it runs. */
function lookups(run: () => void): number {
  const get = mock.method(Map.prototype, 'get')
  run()
  const { length } = get.mock.calls
  get.mock.restore()
  return length
}

test('a path or host costs as many look-ups as the routes are long, however long it is itself', () => {
  const { routes } = resolveOptions({
    target: 'http://127.0.0.1:1',
    routes: [{ host: '*.a.example', path: '/api/v1' }, { host: '*.b.example' }, { path: '/api' }],
  })
  const router = createRouter(routes)
  for (const [host, path, found] of [
    ['c.a.example', `/api/v1${'/a'.repeat(4000)}`, routes[0]],
    [`${'c.'.repeat(3000)}b.example`, '/', routes[1]],
    ['x', `/api${'/a'.repeat(4000)}`, routes[2]],
    ['x', `/apix${'/a'.repeat(4000)}`, undefined],
    ['x', '/'.repeat(8000), undefined],
    [`${'c.'.repeat(3000)}x`, '/', undefined],
    ['c.a.example', '/api/v1', routes[0]],
    ['c.a.example', '/api/v1/', routes[0]],
    ['c.a.example', '/api/v1x', routes[2]],
    ['a.example', '/api/v1', routes[2]],
  ] as const) {
    let match: unknown
    const count = lookups(() => {
      match = router.match('GET', host, path)
    })
    assert.equal(match, found ?? null, `${host.slice(0, 20)} ${path.slice(0, 20)}`)
    assert.ok(count <= 20, `${count} look-ups`)
  }
})

test('a cookie is looked for in its own pair', () => {
  const key = hashKey({ cookie: 'x' })
  const cookie = `${'a;'.repeat(1000)}x=1`
  const indexOf = mock.method(String.prototype, 'indexOf')
  const value = key(exchangeView({ headers: ['Cookie', cookie] }))
  const searched = indexOf.mock.calls.filter((call) => call.arguments[0] === '=')
  indexOf.mock.restore()
  assert.equal(value, '1')
  assert.ok(searched.every((call) => String(call.this).length < 10))
})
