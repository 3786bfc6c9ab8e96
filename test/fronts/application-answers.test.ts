import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { type MockReply, mockBackend } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, runInServer } from '../support/running-proxy.ts'

test('what an application answers by itself, whole, is not cut where the backend answers while it goes out', async () => {
  const begun = gate<MockReply>()
  const answered = gate()
  await using backend = await mockBackend((_request, reply) => begun.open(reply))
  // More than sockets buffer.
  const large = Buffer.alloc(20_000_000, 'a')
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      proxy.web(req, res)
      void begun.promise.then(() => {
        res.end(large)
        answered.open()
      })
    }),
  )
  const client = rawClient(front.port)
  client.socket.pause()
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  const reply = await begun.promise
  await answered.promise
  reply.send({ body: 'late' })
  const record = await front.nextRecord()
  client.socket.resume()
  assert.equal(await client.ended, 'end')
  assert.equal(client.text.length - client.text.indexOf('\r\n\r\n') - 4, large.length)
  assert.equal(record.outcome, 'local')
  assert.equal(front.pending(), 0)
})
