// A unit test without any backend: a pool that responds from memory, and records the requests that it is given.
// Run: npm run build && node --test dist/examples/mock-pool.test.js
// The source of `mockPool()` is also a small example of the Pool contract.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy } from 'heddle'
import { mockPool } from 'heddle/testing'

test('a route strips its prefix and adds its header', async () => {
  const pool = mockPool({ body: 'hello' })
  await using proxy = createProxy({
    target: 'http://backend.example',
    pool,
    routes: [{ path: '/api', stripPrefix: '/api', requestHeaders: { set: { 'X-From': 'heddle' } } }],
  })
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })

  assert.equal(await (await fetch(`${url}/api/users`)).text(), 'hello')
  const [request] = pool.requests
  assert.equal(request?.head.path, '/users')
  assert.equal(request?.exchange.target, '/api/users')
  assert.ok(request?.head.headers.includes('X-From'))
})
