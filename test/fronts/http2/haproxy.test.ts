import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { createProxy, type ExchangeRecord } from '../../../src/index.ts'
import { haproxy, withoutHaproxy } from '../../support/haproxy.ts'
import { queue } from '../../support/running-proxy.ts'
import { webSocketBackend } from '../../support/upgrade-backends.ts'

// The client speaks HTTP/1.1 to HAProxy, and HAProxy HTTP/2 to us, for WebSockets by RFC 8441.

async function echo(socket: WebSocket, message: Buffer | string): Promise<void> {
  socket.send(message)
  const [answer] = (await once(socket, 'message')) as [Buffer]
  assert.ok(answer.equals(Buffer.from(message as string)), 'the echo differs')
}

test('WebSockets through HAProxy: 500 echoes, 10 of 1 MiB, a subprotocol, close codes', {
  skip: withoutHaproxy,
}, async () => {
  await using backend = await webSocketBackend({ handleProtocols: () => 'second' })
  const proxy = createProxy({ target: backend.url, logger: 'silent' })
  await using _ = { [Symbol.asyncDispose]: () => proxy.close() }
  const records = queue<ExchangeRecord>()
  proxy.on('finish', (_exchange, record) => records.push(record))
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', protocols: ['h2'] })
  await using front = await haproxy(`127.0.0.1:${port} proto h2 ws h2`)
  const socket = new WebSocket(`ws://127.0.0.1:${front.port}/chat`, ['first', 'second'])
  await once(socket, 'open')
  assert.equal(socket.protocol, 'second')
  for (let i = 0; i < 500; i++) await echo(socket, `message ${i}`)
  for (let i = 0; i < 10; i++) await echo(socket, randomBytes(1 << 20))
  socket.close(4321, 'done')
  const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
  assert.deepEqual([code, String(reason)], [4321, 'done'])
  const { httpVersion, outcome, target } = await records.next()
  assert.deepEqual([httpVersion, outcome, target], ['2.0', 'upgraded', '/chat'])

  const accepted = backend.nextSocket()
  const other = new WebSocket(`ws://127.0.0.1:${front.port}/`)
  await once(other, 'open')
  const closed = once(other, 'close')
  ;(await accepted).close(1012, 'restart')
  assert.equal((await closed)[0], 1012)
})

test('the fallback server through HAProxy', { skip: withoutHaproxy }, async () => {
  const fallback = http.createServer(async (req, res) => {
    let bytes = 0
    for await (const chunk of req) bytes += (chunk as Buffer).length
    res.end(`${req.method} ${req.url} ${bytes}`)
  })
  const proxy = createProxy({ routes: [{ host: 'nobody.test' }], logger: 'silent' })
  await using _ = { [Symbol.asyncDispose]: () => proxy.close() }
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', protocols: ['h2'], fallback })
  await using front = await haproxy(`127.0.0.1:${port} proto h2`)
  const bodies = [undefined, 'x', Buffer.alloc(3_000_000)]
  for (const body of bodies) {
    const answer = await fetch(`http://127.0.0.1:${front.port}/a?b`, body === undefined ? {} : { method: 'PUT', body })
    const expected = body === undefined ? 'GET /a?b 0' : `PUT /a?b ${body.length}`
    assert.equal(await answer.text(), expected)
  }
})
