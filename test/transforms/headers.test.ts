import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HEADER_FACTS, RESERVED } from '../../src/headers/facts.ts'
import { headerView } from '../../src/headers/view.ts'
import type { ExchangeView } from '../../src/model/exchange-view.ts'
import type { HeaderView } from '../../src/model/header-view.ts'
import { type HeaderChanges, requestHeaders, responseHeaders } from '../../src/transforms/index.ts'

const exchange = {} as ExchangeView

test('requestHeaders removes, then replaces all headers of a name', () => {
  const list = ['X-A', '1', 'X-B', '2', 'x-a', '3', 'X-C', '4']
  const transform = requestHeaders({ set: { 'X-A': 'new' }, remove: ['x-c', 'x-none'] })
  transform.request?.({ method: 'GET', path: '/', headers: headerView(list) }, exchange)
  assert.deepEqual(list, ['X-B', '2', 'X-A', 'new'])
  assert.equal(transform.response, undefined)
})

test('responseHeaders does the same with the response', () => {
  const list = ['X-Powered-By', 'x', 'Server', 'y']
  const transform = responseHeaders({ remove: ['x-powered-by'], set: { server: 'heddle' } })
  transform.response?.({ status: 200, headers: headerView(list) }, exchange)
  assert.deepEqual(list, ['server', 'heddle'])
  assert.equal(transform.request, undefined)
})

test('a header that is both removed and set is set', () => {
  const list = ['a', '1']
  requestHeaders({ remove: ['A'], set: { a: '2' } }).request?.(
    { method: 'GET', path: '/', headers: headerView(list) },
    exchange,
  )
  assert.deepEqual(list, ['a', '2'])
})

test('changes are copied at construction', () => {
  const changes = { set: { a: '1' } as Record<string, string>, remove: ['b'] }
  const transform = requestHeaders(changes)
  changes.set.evil = '1'
  changes.remove.push('c')
  const seen: string[] = []
  const headers = { set: (name: string) => seen.push(name), delete: (name: string) => seen.push(name) }
  transform.request?.({ method: 'GET', path: '/', headers: headers as unknown as HeaderView }, exchange)
  assert.deepEqual(seen, ['b', 'a'])
})

test('invalid names and values are rejected at construction, all at once', () => {
  const wrong: HeaderChanges[] = [
    { set: { 'a b': '1' } },
    { set: { '': '1' } },
    { set: { a: 'x\r\nevil: 1' } },
    { set: { a: 'é\u0100' } },
    { set: { a: 5 as unknown as string } },
    { remove: ['é'] },
    { remove: [5 as unknown as string] },
  ]
  for (const make of [requestHeaders, responseHeaders]) {
    for (const changes of wrong) assert.throws(() => make(changes), TypeError, JSON.stringify(changes))
  }
  assert.throws(() => requestHeaders({ set: { 'a b': '1' }, remove: ['c d'] }), /c d.*; .*a b/)
})

test('connection and framing headers cannot be changed', () => {
  for (const name of ['Connection', 'content-length', 'Transfer-Encoding', 'Upgrade', 'Keep-Alive']) {
    assert.throws(() => requestHeaders({ set: { [name]: '1' } }), /belongs to the connection/)
    assert.throws(() => responseHeaders({ remove: [name] }), /belongs to the connection/)
  }
})

test('both kinds of transforms reject the names that the proxy writes', () => {
  const names = HEADER_FACTS.filter(([, facts]) => (facts & RESERVED) !== 0).map(([name]) => name)
  assert.ok(names.includes('proxy-connection') && names.includes('te') && names.includes('expect'))
  const list = names.flatMap((name) => [name, 'received'])
  const view = headerView(list)
  for (const name of names) {
    assert.throws(() => requestHeaders({ set: { [name]: '1' } }), /belongs to the connection/, name)
    assert.throws(() => responseHeaders({ remove: [name] }), /belongs to the connection/, name)
    assert.throws(() => view.set(name.toUpperCase(), '1'), /belongs to the connection/, name)
    assert.throws(() => view.append(name, '1'), /belongs to the connection/, name)
    view.delete(name)
    assert.equal(view.get(name), 'received')
  }
})
