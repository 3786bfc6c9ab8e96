import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { type MockHandler, mockBackend } from '../../src/testing/index.ts'
import { MIB, randomBytes, sha256 } from '../support/bytes.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { gate, rounds } from '../support/running-proxy.ts'
import { type RunningSocketServer, runSocketServer } from '../support/running-socket-server.ts'

/*
 * All connections of a socket server are read into one buffer: what one keeps must not change if another is read.
 */

const GET = 'GET /1 HTTP/1.1\r\nHost: a\r\n\r\n'
const post = (body: string, more = ''): string =>
  `POST /2 HTTP/1.1\r\nHost: a\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`
const chunked = (body: string): string =>
  `POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`

const echo: MockHandler = async (request, reply) => reply.send({ body: `<${await request.body()}>` })

/** Fills the buffer with other bytes, by another connection. */
async function overwrite(run: RunningSocketServer): Promise<void> {
  const other = rawClient(run.port)
  const accepted = once(run.server, 'connection')
  other.write(`${GET}GET /other HTTP/1.1\r\nHost: b\r\nX-Fill: ${'z'.repeat(15_000)}`)
  await accepted
  await rounds()
  other.socket.destroy()
}

async function pausedClient(run: RunningSocketServer, bytes: string): Promise<RawClient> {
  const client = rawClient(run.port)
  client.write(bytes)
  await rounds()
  return client
}

describe('what is kept of one connection stays as it is if another is read', () => {
  test('half of a head', async () => {
    await using backend = await mockBackend(echo)
    await using run = await runSocketServer({ target: backend.url })
    const client = await pausedClient(run, 'POST /half HTTP/1.1\r\nHost: a\r\nX-Mi')
    await overwrite(run)
    client.write('ne: yes\r\nContent-Length: 2\r\n\r\nhi')
    await client.until('<hi>')
    const received = backend.requests.find(({ path }) => path === '/half')
    assert.equal(received?.header('x-mine'), 'yes')
    client.socket.destroy()
  })

  for (const [what, next, expected] of [
    ['a request', post('second'), '<second>'],
    ['a large body', post('L'.repeat(40_000)), `<${'L'.repeat(40_000)}>`],
    ['a body in chunks', chunked('in chunks'), '<in chunks>'],
    ['a request for node:http', post('expected', 'Expect: 100-continue\r\n'), '<expected>'],
  ] as const) {
    test(`${what} in a pipeline`, async () => {
      const goOn = gate()
      await using backend = await mockBackend(async (request, reply) => {
        if (request.path === '/1') await goOn.promise
        await echo(request, reply)
      })
      await using run = await runSocketServer({ target: backend.url })
      const client = await pausedClient(run, GET + next)
      await overwrite(run)
      goOn.open()
      await client.until(expected)
      client.socket.destroy()
    })
  }

  test('a body that is sent again to another backend', async () => {
    const overwritten = gate()
    await using broken = await mockBackend(async (_request, reply) => {
      await overwritten.promise
      reply.reset()
    })
    await using backend = await mockBackend(echo)
    await using run = await runSocketServer({
      backends: [broken.url, backend.url],
      balancer: { name: 'in-order', pick: ([first]) => first },
      retry: { maxRetries: 1 },
    })
    const client = rawClient(run.port)
    client.write(post('again'.repeat(2000)).replace('POST', 'PUT'))
    await broken.nextRequest()
    await overwrite(run)
    overwritten.open()
    await client.until(`<${'again'.repeat(2000)}>`)
    client.socket.destroy()
  })

  test('a connection that was handed over, before and after an upgrade', async () => {
    const goOn = gate()
    await using backend = await mockBackend(async (request, reply) => {
      if (request.header('upgrade') === undefined) return echo(request, reply)
      await goOn.promise
      reply.raw('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n')
      const stream = reply.takeOver()
      stream.on('error', () => {}).pipe(stream)
    })
    await using run = await runSocketServer({ target: backend.url })
    const client = rawClient(run.port)
    client.write(post('ours'))
    await client.until('<ours>')
    client.write(post('theirs', 'Expect: 100-continue\r\n'))
    await client.until('<theirs>')
    assert.equal(run.handedOver.length, 1)
    client.write(`GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\nfirst bytes`)
    await rounds()
    await overwrite(run)
    goOn.open()
    await client.until('first bytes')
    const large = randomBytes(MIB).toString('latin1')
    client.write(large)
    await overwrite(run)
    await client.until(large.slice(-1000))
    assert.ok(client.text.endsWith(`first bytes${large}`))
    client.socket.destroy()
  })
})

describe('large bodies', () => {
  const big = randomBytes(50 * MIB)

  for (const isChunked of [false, true]) {
    test(`50 MiB ${isChunked ? 'in chunks ' : ''}to a backend that stops and goes on`, async () => {
      let read = 0
      await using backend = await mockBackend(async (request, reply) => {
        for (let i = 0; i < 5; i++) {
          request.pause()
          await rounds(20)
          request.resume()
          await rounds(20)
        }
        const body = await request.body()
        read = request.bodyBytes.length
        reply.send({ body: `<${sha256(request.bodyBytes)}>${body.length > 0}` })
      })
      await using run = await runSocketServer({ target: backend.url })
      const client = rawClient(run.port)
      const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${big.length}`
      client.write(`POST / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n`)
      const size = 777_777
      for (let i = 0; i < big.length; i += size) {
        const piece = big.subarray(i, i + size)
        if (isChunked) client.write(`${piece.length.toString(16)}\r\n`)
        client.write(piece)
        if (isChunked) client.write('\r\n')
      }
      client.write(`${isChunked ? '0\r\n\r\n' : ''}${GET}`)
      await client.until(`<${sha256(big)}>`)
      assert.equal(read, big.length)
      const record = await run.nextRecord()
      assert.equal(record.requestBytes, big.length)
      assert.equal(run.handedOver.length, 0)
      client.socket.destroy()
    })
  }

  test('small pieces after large ones', async () => {
    await using backend = await mockBackend(async (request, reply) => {
      await request.body()
      reply.send({ body: `<${sha256(request.bodyBytes)}>` })
    })
    await using run = await runSocketServer({ target: backend.url })
    const body = big.subarray(0, 400_000)
    const client = rawClient(run.port)
    client.socket.setNoDelay(true)
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`)
    const sizes = [100_000, 1, 2, 60_000, 9000, 3, 120_000, 20_000, 5]
    let at = 0
    for (const size of sizes) {
      client.write(body.subarray(at, at + size))
      at += size
      await rounds(3)
      await overwrite(run)
    }
    client.write(body.subarray(at))
    await client.until(`<${sha256(body)}>`)
    client.socket.destroy()
  })

  test('a client that resets in the middle ends the exchange', async () => {
    await using backend = await mockBackend(async (request) => void (await request.body()))
    await using run = await runSocketServer({ target: backend.url })
    const client = rawClient(run.port)
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${big.length}\r\n\r\n`)
    client.write(big.subarray(0, 5 * MIB))
    const request = await backend.nextRequestHead()
    while (request.bodyBytes.length < MIB) await rounds(1)
    client.socket.resetAndDestroy()
    assert.equal((await run.nextRecord()).errorCode, 'ERR_PROXY_CLIENT_GONE')
    await backend.untilOpenConnections(0)
    assert.equal(run.server.openConnections(), 0)
  })
})
