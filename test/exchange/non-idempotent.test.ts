import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { describe, test } from 'node:test'
import { firstAvailable, type ProxyOptions } from '../../src/index.ts'
import { type MockBackend, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { randomBytes } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, type RunningProxy, type WayIn } from '../support/running-proxy.ts'

/** Answers GETs; whatever else has come whole is counted and gets no answer: its connection ends. */
function diesOnWork(how: 'reset' | 'fin'): { handler: MockHandler; done: string[] } {
  const done: string[] = []
  return {
    done,
    handler: async (request, reply) => {
      await request.body()
      if (request.method === 'GET') return reply.send({ body: 'kept' })
      done.push(`${request.method} ${request.bodyBytes.length}`)
      if (how === 'reset') reply.reset()
      else reply.abort()
    },
  }
}

/** Two backends, the first one always asked first, and a kept connection to it. */
async function runKept(
  { run }: WayIn,
  backend: MockBackend,
  other: MockBackend,
  more: ProxyOptions = {},
): Promise<RunningProxy> {
  const front = await run({ backends: [backend.url, other.url], balancer: firstAvailable(), ...more })
  assert.equal(await (await fetch(front.url)).text(), 'kept')
  await front.nextRecord()
  return front
}

/** Ends every connection that a backend has, or sends bytes on it that nobody asked for. */
const ENDINGS: readonly [string, (socket: Socket) => void][] = [
  ['a FIN', (socket) => void socket.destroy()],
  ['a reset', (socket) => void socket.resetAndDestroy()],
  ['a 408', (socket) => void socket.write('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n')],
]

for (const front of ALL_FRONTS) {
  describe(front.name, () => {
    for (const how of ['reset', 'fin'] as const) {
      for (const method of ['POST', 'PATCH']) {
        for (const version of ['1.1', '1.0']) {
          for (const body of ['', 'pay!', 'x'.repeat(200_000)]) {
            test(`${method} in HTTP/${version} that the backend has read is sent once (${how}, ${body.length} bytes)`, async () => {
              const { handler, done } = diesOnWork(how)
              await using backend = await mockBackend(handler)
              await using other = await mockBackend(handler)
              await using running = await runKept(front, backend, other)
              const client = rawClient(running.port)
              client.write(
                `${method} / HTTP/${version}\r\nHost: a\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
              )
              await client.until('(ERR_PROXY_RESET)')
              await client.ended
              assert.match(client.text, /^HTTP\/1\.1 502 /)
              assert.deepEqual(done, [`${method} ${body.length}`])
              const record = await running.nextRecord()
              assert.deepEqual([record.attempts, record.outcome], [1, 'failed'])
              // It did go over the kept connection.
              assert.equal(backend.connections, 1)
            })
          }
        }
      }
    }

    test('a POST of which the backend has read a part is not sent again', async () => {
      let heads = 0
      await using backend = await mockBackend(async (request, reply) => {
        if (request.method === 'GET') return reply.send({ body: 'kept' })
        heads++
        while (request.bodyBytes.length === 0) await new Promise((resolve) => setImmediate(resolve))
        reply.reset()
      })
      await using other = await mockBackend()
      await using running = await runKept(front, backend, other)
      const client = rawClient(running.port)
      client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\npart')
      await client.until('(ERR_PROXY_RESET)')
      assert.deepEqual([heads, other.requests.length], [1, 0])
      client.socket.destroy()
    })

    test('a POST whose head has gone and whose body waits for 100 is not sent again', async () => {
      let heads = 0
      await using backend = await mockBackend((request, reply) => {
        if (request.method === 'GET') return reply.send({ body: 'kept' })
        heads++
        reply.reset()
      })
      await using other = await mockBackend()
      await using running = await runKept(front, backend, other)
      const client = rawClient(running.port)
      client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n')
      await client.until('(ERR_PROXY_RESET)')
      assert.deepEqual([heads, other.requests.length], [1, 0])
      client.socket.destroy()
    })

    for (const [ending, end] of ENDINGS) {
      for (const body of [null, 'pay!', randomBytes(300_000)]) {
        test(`${ending} that lies in the kept connection as a POST comes sends it over another (${body?.length ?? 'no'} bytes)`, async () => {
          const sockets: Socket[] = []
          await using backend = await mockBackend(
            { body: 'kept' },
            { onConnection: (socket) => void sockets.push(socket) },
          )
          await using other = await mockBackend()
          await using running = await runKept(front, backend, other, {
            retry: false,
            healthCheck: { consecutiveFailures: 1 },
          })
          // After the event loop has said what has come, before anything is written.
          running.proxy.once('attempt', () => end(sockets[0] as Socket))
          const response = await fetch(running.url, { method: 'POST', ...(body === null ? {} : { body }) })
          assert.deepEqual([response.status, await response.text()], [200, 'kept'])
          const record = await running.nextRecord()
          assert.deepEqual([record.attempts, record.outcome, record.backend], [2, 'answered', backend.url])
          assert.equal(backend.requests.length, 2)
          if (body !== null) assert.deepEqual(backend.requests[1]?.bodyBytes, Buffer.from(body))
          assert.deepEqual(
            running.proxy.stats().groups[0]?.backends.map((one) => one.status === 'ejected'),
            [false, false],
          )
        })
      }
    }
  })
}
