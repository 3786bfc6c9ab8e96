import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { describe, test } from 'node:test'
import { type MockReply, manualClock, mockBackend } from '../../src/testing/index.ts'
import { ALL_FRONTS, queue, rounds } from '../support/running-proxy.ts'

const POISON = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'

const FIRST: readonly [string, string, string][] = [
  ['HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n'],
  ['a 304', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n'],
  ['a 204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
  ['a body', 'GET', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na'],
]

for (const { name, run } of ALL_FRONTS) {
  describe(name, () => {
    for (const [what, firstMethod, head] of FIRST) {
      for (const method of ['GET', 'POST']) {
        test(`bytes that come right behind the response to ${what} are not the response to the ${method} that waits`, async () => {
          const replies = queue<MockReply>()
          const sockets: Socket[] = []
          await using backend = await mockBackend(
            (request, reply) => (request.path === '/first' ? replies.push(reply) : reply.send({ body: 'right' })),
            { onConnection: (socket) => void sockets.push(socket) },
          )
          await using front = await run({ target: backend.url, pool: { maxConnections: 1 }, retry: false })
          const first = fetch(`${front.url}/first`, { method: firstMethod })
          const reply = await replies.next()
          const attempted = new Promise((resolve) => front.proxy.once('attempt', resolve))
          const next = fetch(`${front.url}/next`, { method, ...(method === 'POST' ? { body: 'x' } : {}) })
          await attempted
          // In the turn that frees the connection, before it has been polled again.
          front.proxy.once('response', () => sockets[0]?.write(POISON))
          reply.raw(head)
          await first
          assert.equal(await (await next).text(), 'right')
          assert.equal(backend.requests.length, 2)
          assert.equal(backend.connections, 2)
        })
      }
    }

    for (const [what, method, head] of [
      ['HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n'],
      ['a 304 with a length', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n'],
    ] as const) {
      test(`a body that comes some time after the response to ${what} is nobody's`, async () => {
        const clock = manualClock()
        const sockets: Socket[] = []
        await using backend = await mockBackend(
          (request, reply) => {
            if (request.path === '/first') {
              reply.raw(head)
              return reply.end()
            }
            sockets[0]?.write(POISON)
            reply.send({ body: 'right' })
          },
          { onConnection: (socket) => void sockets.push(socket) },
        )
        await using front = await run({ target: backend.url, clock })
        await fetch(`${front.url}/first`, { method })
        await front.nextRecord()
        clock.advance(40)
        assert.equal(await (await fetch(front.url)).text(), 'right')
        await backend.untilOpenConnections(1)
        assert.deepEqual([backend.requests.length, backend.connections], [2, 2])
      })
    }

    test('after HEAD a connection is used again when nothing has come for a while', async () => {
      const clock = manualClock()
      await using backend = await mockBackend({ body: 'a' })
      await using front = await run({ target: backend.url, clock })
      await fetch(front.url, { method: 'HEAD' })
      await front.nextRecord()
      clock.advance(80)
      assert.equal(await (await fetch(front.url)).text(), 'a')
      assert.equal(backend.connections, 1)
      // It is closed when it has been idle for too long, as any other.
      await front.nextRecord()
      clock.advance(5000)
      await backend.untilOpenConnections(0)
    })

    test('a connection that is not to be used yet makes room, and does not hold up the end', async () => {
      const clock = manualClock()
      await using backend = await mockBackend({ body: 'a' })
      {
        await using front = await run({ target: backend.url, clock, pool: { maxConnections: 1, maxWaiting: 0 } })
        for (let i = 0; i < 3; i++) {
          assert.equal((await fetch(front.url, { method: 'HEAD' })).status, 200)
          await front.nextRecord()
        }
        await rounds()
        await backend.untilOpenConnections(1)
      }
      await backend.untilOpenConnections(0)
    })
  })
}
