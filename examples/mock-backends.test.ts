// A unit test with backends that behave and misbehave: real servers on free ports, recorded requests, no sleeping.
// Run: npm run build && node --test dist/examples/mock-backends.test.js
// The same works in any test runner.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy } from 'heddle'
import { cutMidBody, deadPort, mockBackend } from 'heddle/testing'

test('the backend gets the body, and the address of the client', async () => {
  await using backend = await mockBackend({ status: 201, body: 'made' })
  await using proxy = createProxy({ target: backend.url })
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })

  const response = await fetch(`${url}/things?x=1`, { method: 'POST', body: 'a thing' })

  assert.deepEqual([response.status, await response.text()], [201, 'made'])
  const request = await backend.nextRequest()
  assert.equal(request.path, '/things?x=1')
  assert.equal(request.bodyText, 'a thing')
  assert.equal(request.header('x-forwarded-for'), '127.0.0.1')
})

test('a retry goes to another backend if one is down', async () => {
  await using alive = await mockBackend({ body: 'alive' })
  const dead = await deadPort()
  await using proxy = createProxy({ backends: [dead.url, alive.url], balancer: 'first-available' })
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })

  assert.equal(await (await fetch(url)).text(), 'alive')
})

test('a truncated response does not look complete', async () => {
  await using backend = await mockBackend(cutMidBody)
  await using proxy = createProxy({ target: backend.url })
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })

  const response = await fetch(url)
  await assert.rejects(response.text())
})
