import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mockBackend } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS } from '../support/running-proxy.ts'

for (const { name, run } of FRONTS) {
  test(`${name}: a pipeline that is longer than what is held of it is carried to its end`, async () => {
    await using backend = await mockBackend((request, reply) => reply.send({ body: `the answer to ${request.path}.` }))
    await using front = await run({ target: backend.url })
    const client = rawClient(front.port)
    // More than twice 64 KiB, in requests of a length that does not divide it.
    const requests = Array.from(
      { length: 1300 },
      (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\nX-Pad: ${'x'.repeat(75)}\r\n\r\n`,
    )
    client.write(requests.join(''))
    await client.until('the answer to /1299.')
    assert.equal(client.text.match(/the answer to/g)?.length, 1300)
    client.socket.destroy()
  })
}
