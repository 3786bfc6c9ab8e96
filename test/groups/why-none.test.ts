import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Affinity } from '../../src/index.ts'
import { converse } from '../support/raw-client.ts'
import { runProxy } from '../support/running-proxy.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

test('a request without a backend says what the backends are', async () => {
  const backends = ['one', 'two', 'three'].map((id) => ({ id, url: `http://${id}.invalid` }))
  await using front = await runProxy({ groups: { api: { backends } }, routes: [{ group: 'api' }] })
  front.proxy.disable('one', 'api')
  front.proxy.disable('two', 'api')
  void front.proxy.drain('three', 'api')
  await converse(front.port, GET)
  assert.equal(front.errors[0]?.message, 'no backend of group api is available: 2 disabled, 1 draining')
})

test('a request whose own backend is lost says which affinity refuses the others', async () => {
  const affinity: Affinity = {
    name: 'session',
    onLost: 'refuse',
    find: (_exchange, backends) => backends[0] ?? null,
    bind() {},
  }
  const backends = ['one', 'two'].map((id) => ({ id, url: `http://${id}.invalid` }))
  await using front = await runProxy({ backends, affinity })
  front.proxy.disable('one')
  await converse(front.port, GET)
  assert.match(front.errors[0]?.message ?? '', /affinity session has found in group default is not available/)
})
