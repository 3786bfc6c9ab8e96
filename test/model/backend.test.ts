import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Backend } from '../../src/model/backend.ts'
import { SharedStateMemory } from '../../src/runtime/state-memory.ts'

test('a backend URL gives the endpoint, the path prefix and the id', () => {
  const plain = new Backend('http://127.0.0.1:3001')
  assert.deepEqual([plain.id, plain.basePath, plain.host], ['http://127.0.0.1:3001', '', '127.0.0.1:3001'])
  assert.equal(plain.endpoint.port, 3001)

  const secure = new Backend({ url: 'https://[::1]/v1/', id: 'b', weight: 3 })
  assert.deepEqual([secure.id, secure.basePath, secure.weight], ['b', '/v1', 3])
  assert.deepEqual([secure.endpoint.hostname, secure.endpoint.port, secure.endpoint.isSecure], ['::1', 443, true])

  const unix = new Backend('http+unix:///run/my%20app.sock:/v1')
  assert.deepEqual(
    [unix.id, unix.basePath, unix.endpoint.socketPath],
    ['unix:/run/my app.sock', '/v1', '/run/my app.sock'],
  )
})

test('the path of a backend URL loses trailing slashes and dot segments', () => {
  for (const [url, basePath] of [
    ['http://x/v1//', '/v1'],
    ['http://x/a/../b/', '/b'],
    ['http+unix:///run/x.sock:/a/../b//', '/b'],
    ['http+unix:///run/x.sock:/..', ''],
  ] as const) {
    assert.equal(new Backend(url).basePath, basePath, url)
  }
  for (const path of ['/a b', '/a?b', '/a#b', '/a\\b', '/a\r\nX: 1']) {
    assert.throws(() => new Backend(`http+unix:///run/x.sock:${path}`), /use http:\/\//, path)
  }
})

test('an invalid backend URL is rejected with an example', () => {
  for (const url of ['', 'localhost:3000', 'ftp://x', 'http://u:p@x', 'http://x/?a=b', 'http+unix://relative.sock']) {
    assert.throws(() => new Backend(url), /(?:use|did you mean) http:\/\//, url)
  }
})

test('a backend is available unless a state or its weight prevents it', () => {
  const backend = new Backend('http://x')
  assert.ok(backend.isAvailable)
  for (const state of ['isUnhealthy', 'isDraining', 'isDisabled'] as const) {
    backend.state[state] = true
    assert.equal(backend.isAvailable, false, state)
    backend.state[state] = false
  }
  backend.state.eject(1000)
  assert.equal(backend.isAvailable, false)
  backend.state.uneject()
  assert.ok(backend.isAvailable)
  assert.equal(new Backend({ url: 'http://x', weight: 0 }).isAvailable, false)
})

test("status() returns the strongest reason, an operator's first", () => {
  const backend = new Backend('http://x')
  assert.equal(backend.status(), 'available')
  backend.state.eject(1000)
  assert.equal(backend.status(), 'ejected')
  backend.state.isUnhealthy = true
  assert.equal(backend.status(), 'unhealthy')
  backend.adopt(new Backend({ url: 'http://x', weight: 0 }))
  assert.equal(backend.status(), 'weightless')
  backend.state.isDraining = true
  assert.equal(backend.status(), 'draining')
  backend.state.isDisabled = true
  assert.equal(backend.status(), 'disabled')
})

test('shared memory shares state, and each backend has its own slot', () => {
  const buffer = SharedStateMemory.allocate(2, 0)
  const here = new SharedStateMemory(buffer, 0).backendState('a')
  const there = new SharedStateMemory(buffer, 1).backendState('a')
  const other = new SharedStateMemory(buffer, 1).backendState('b')
  here.addPending(1)
  here.setRtt(12.345, 5000)
  assert.equal(there.pending, 1)
  assert.equal(there.rttMs, 12.345)
  assert.equal(there.rttAgeMs(5100), 100)
  assert.equal(other.pending, 0)
})
