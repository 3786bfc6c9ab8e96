import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { createProxy } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, inHttp2, listening, rounds } from '../support/running-proxy.ts'

/** Bytes that name their owner in every 16 of them. */
const bodyOf = (path: string, bytes: number): string => `owner ${path.slice(1).padStart(9, '0')}\n`.repeat(bytes / 16)

/** Where TLS is spoken; each gives the port. */
const SECURE = [
  [
    'proxy.listen()',
    async (proxy: ReturnType<typeof createProxy>, secure: tls.TlsOptions) =>
      (await proxy.listen({ port: 0, host: '127.0.0.1', tls: secure })).port,
  ],
  [
    'an https server',
    (proxy: ReturnType<typeof createProxy>, secure: tls.TlsOptions) =>
      listening(https.createServer(secure, proxy.web).unref()),
  ],
] as const

for (const [name, listen] of SECURE) {
  test(`${name}: over TLS slow readers each get their own bytes`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const body = bodyOf(request.path, 1_600_000)
      const isChunked = request.path.endsWith('1')
      if (isChunked) reply.send({ chunks: body.match(/[\s\S]{1,16000}/g) ?? [] })
      else reply.send({ body })
    })
    await using proxy = createProxy({ target: backend.url, pool: { maxConnections: 4 }, drainTimeoutMs: 100 })
    const port = await listen(proxy, { key, cert: certificate })
    await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const client = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
        await once(client, 'secureConnect')
        client.write(`GET /${i} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
        let text = ''
        for await (const chunk of client) {
          text += (chunk as Buffer).toString('latin1')
          await rounds(2)
        }
        const owners = new Set(text.match(/owner \d{9}/g) ?? [])
        assert.deepEqual(Array.from(owners), [`owner ${String(i).padStart(9, '0')}`])
      }),
    )
  })
}

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: slow readers each get their own bytes`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const body = bodyOf(request.path, 1_600_000)
      if (request.path.endsWith('1')) reply.send({ chunks: body.match(/[\s\S]{1,16000}/g) ?? [] })
      else reply.send({ body })
    })
    await using front = await run({ target: backend.url, pool: { maxConnections: 4 } })
    await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const client = rawClient(front.port)
        client.write(`GET /${i} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
        client.socket.pause()
        await rounds(50)
        client.socket.resume()
        await client.ended
        const owners = new Set(client.text.match(/owner \d{9}/g) ?? [])
        assert.deepEqual(Array.from(owners), [`owner ${String(i).padStart(9, '0')}`])
      }),
    )
  })

  test(`${name}: interim responses do not pile up for a client that does not read`, {
    skip: inHttp2(name, 'what waits is in frames, see http2/connection'),
  }, async () => {
    const filler = 'x'.repeat(60_000)
    await using backend = await mockBackend(async (request, reply) => {
      await request.body()
      for (let i = 0; i < 90; i++) {
        reply.informational(103, ['X-Filler', filler])
        await reply.drained()
      }
      reply.send({ body: 'the end' })
    })
    await using front = await run({ target: backend.url, retry: false })
    const clients = Array.from({ length: 3 }, () => {
      const client = rawClient(front.port)
      client.socket.pause()
      client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      return client
    })
    let most = 0
    const answered = new Promise<void>((resolve) => {
      let count = 0
      front.proxy.on('response', () => {
        if (++count === clients.length) resolve()
      })
    })
    const look = setInterval(() => {
      const served = (process as unknown as { _getActiveHandles(): net.Socket[] })._getActiveHandles()
      for (const socket of served) most = Math.max(most, socket.localPort === front.port ? socket.writableLength : 0)
    }, 1)
    await answered
    clearInterval(look)
    assert.ok(most > 0 && most < 300_000, `${most} bytes waited for one client`)
    // One that reads gets the rest, and the response.
    for (const client of clients) client.socket.resume()
    await Promise.all(clients.map((client) => client.until('the end')))
    for (const { socket } of clients) socket.destroy()
  })

  test(`${name}: a client that reads gets every interim response`, async () => {
    await using backend = await mockBackend((_request, reply) => {
      for (let i = 0; i < 50; i++) reply.informational(103, ['Link', `</${i}.css>`])
      reply.send({ body: 'the end' })
    })
    await using front = await run({ target: backend.url })
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    assert.equal((await client.until('the end')).match(/ 103 /g)?.length, 50)
    client.socket.destroy()
  })

  test(`${name}: a body that comes in spite of Expect goes on to a backend that says no 100`, {
    skip: inHttp2(name, 'the gateway waits for the 100'),
  }, async () => {
    await using backend = await mockBackend(async (request, reply) =>
      reply.send({ body: `got ${await request.body()}, ${request.expectsContinue}` }),
    )
    // Its time stands still: what waited for a time to pass would wait for ever.
    await using front = await run({ target: backend.url, clock: manualClock() })
    const client = rawClient(front.port)
    const expects = 'POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n'
    for (const [rest, body] of [
      ['Content-Length: 4\r\n\r\nbody', 'body'],
      ['Transfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\n\r\n', 'more'],
      ['Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n', ''],
    ] as const) {
      client.write(expects + rest)
      await client.until(`got ${body}, true`)
    }
    // Late, after its head has long gone to the backend.
    client.write(`${expects}Content-Length: 100000\r\n\r\n`)
    await backend.nextRequestHead()
    client.write(`${'y'.repeat(100_000)}`)
    await client.until('got yyyy')
    client.socket.destroy()
  })
}

test('a client that never sends the body that it announced leaves the connection to the next request', async () => {
  await using backend = await mockBackend((request, reply) => {
    if (request.method === 'POST') reply.send({ status: 417, body: 'not wanted' })
    else reply.send({ body: 'next' })
  })
  await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 100 })
  const server = http.createServer()
  proxy.attach(server)
  const client = rawClient(await listening(server))
  client.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n')
  await client.until('not wanted')
  client.socket.destroy()
  server.close()
  server.closeAllConnections()
})
