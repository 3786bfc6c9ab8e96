import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import http from 'node:http'
import type net from 'node:net'
import { test } from 'node:test'
import express from 'express'
import type { ProxyOptions } from '../../src/index.ts'
import { type MockHandler, type MockReply, manualClock, mockBackend } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS, gate, type RunningProxy, rounds, runInServer, runProxy } from '../support/running-proxy.ts'

const head = (method: string, path: string, more = ''): string => `${method} ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`

/** The fronts, and what else carries requests: each with what must come before the first request. */
const WAYS: readonly { name: string; run(options: ProxyOptions): Promise<RunningProxy>; first: string }[] = [
  ...FRONTS.map(({ name, run }) => ({ name, run, first: '' })),
  // The socket server gives what is not plain, and the connection with it, to the node:http server behind it.
  { name: 'node:http behind proxy.listen()', run: runProxy, first: '\r\n\r\n' },
  {
    name: 'an application with routes of its own',
    run: (options) =>
      runInServer(options, (proxy) => {
        const app = express()
        app.get('/application', (_req, res) => void res.send('application'))
        app.get('/late', (_req, res) => void setImmediate(() => res.send('late')))
        app.use(proxy.middleware())
        return http.createServer(app)
      }),
    first: '',
  },
]

/** Answers with the path, when `opened` has been; tells how many are under way at a time. */
function counting(opened: Promise<void> = Promise.resolve()) {
  const counts = { now: 0, most: 0 }
  const script: MockHandler = async (request, reply) => {
    counts.now++
    counts.most = Math.max(counts.most, counts.now)
    await request.body()
    await opened
    counts.now--
    reply.send({ body: `the answer to ${request.method} ${request.path}.` })
  }
  return { counts, script }
}

for (const { name, run, first } of WAYS) {
  test(`${name}: 1,200 pipelined requests are carried one at a time, in their order`, async () => {
    const { counts, script } = counting()
    await using backend = await mockBackend(script)
    await using front = await run({ target: backend.url, pool: { maxConnections: 4 } })
    const client = rawClient(front.port)
    client.write(first + Array.from({ length: 1200 }, (_, i) => head('GET', `/${i}`)).join(''))
    await client.until('the answer to GET /1199.')
    assert.equal(counts.most, 1)
    assert.deepEqual(
      Array.from(client.text.matchAll(/the answer to GET \/(\d+)\./g), ([, number]) => Number(number)),
      Array.from({ length: 1200 }, (_, i) => i),
    )
    client.socket.destroy()
  })

  test(`${name}: what waits in a pipeline has no limit of time`, async () => {
    const begun = gate<MockReply>()
    await using backend = await mockBackend((request, reply) => {
      if (request.path !== '/1') return reply.send({ body: `body of ${request.path}` })
      reply.head()
      begun.open(reply)
    })
    const clock = manualClock()
    await using front = await run({ target: backend.url, timeouts: { idle: 200, headers: 200, total: 2000 }, clock })
    const client = rawClient(front.port)
    client.write(`${first}${head('GET', '/1')}${head('POST', '/2', 'Content-Length: 2\r\n')}hi${head('GET', '/3')}`)
    const reply = await begun.promise
    for (let i = 0; i < 10; i++) {
      reply.chunk(`piece ${i}.`)
      await client.until(`piece ${i}.`)
      clock.advance(150)
    }
    reply.end()
    await client.until('body of /2')
    clock.advance(150)
    await client.until('body of /3')
    assert.deepEqual(front.errors, [])
    assert.match(client.text, /piece 9\.[\s\S]*body of \/2[\s\S]*body of \/3/)
    client.socket.destroy()
  })

  test(`${name}: 100 Continue comes before the response that it belongs to`, async () => {
    const open = gate()
    await using backend = await mockBackend(async (request, reply) => {
      if (request.expectsContinue) reply.continue()
      if (request.path !== '/1') return reply.send({ body: `${request.path} got ${await request.body()}` })
      reply.head({ headers: { 'content-length': '4' } })
      reply.chunk('ab')
      await open.promise
      reply.chunk('cd')
      reply.end()
    })
    await using front = await run({ target: backend.url })
    const client = rawClient(front.port)
    client.write(`${first}${head('GET', '/1')}${head('POST', '/2', 'Content-Length: 2\r\nExpect: 100-continue\r\n')}hi`)
    await client.until('ab')
    await rounds()
    open.open()
    await client.until('/2 got hi')
    assert.match(client.text, /\r\n\r\nabcdHTTP\/1\.1 (100 Continue\r\n\r\nHTTP\/1\.1 )?200 OK\r\n/)
    client.socket.destroy()
  })

  test(`${name}: what stands behind a refused request is never carried out`, async () => {
    const { script } = counting()
    await using backend = await mockBackend(script)
    await using front = await run({ target: backend.url, limits: { maxBodyBytes: 10 } })
    const client = rawClient(front.port)
    // Refused while its body is on its way.
    client.write(`${first}${head('GET', '/1')}${head('GET', '/a#b')}${head('DELETE', '/2')}`)
    await client.ended
    await rounds()
    assert.match(client.text, /GET \/1\.HTTP\/1\.1 400 /)
    assert.deepEqual(
      backend.requests.map(({ method }) => method),
      ['GET'],
    )
  })

  test(`${name}: one that waits when its client goes ends as aborted, with a record`, async () => {
    const open = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: { 'content-length': '4' } })
      reply.chunk('ab')
      await open.promise
      reply.chunk('cd')
      reply.end()
    })
    await using front = await run({ target: backend.url })
    const client = rawClient(front.port)
    client.write(first + head('GET', '/1') + head('GET', '/2') + head('GET', '/3'))
    await client.until('ab')
    await rounds()
    client.socket.resetAndDestroy()
    const isLane = name === 'proxy.listen()'
    const outcomes: string[] = []
    for (let i = 0; i < (isLane ? 1 : 3); i++) {
      const { outcome, target } = await front.nextRecord()
      outcomes.push(`${target} ${outcome}`)
    }
    // The socket server has not read them yet.
    assert.deepEqual(outcomes.sort(), ['/1 aborted', ...(isLane ? [] : ['/2 aborted', '/3 aborted'])])
    assert.equal(backend.requests.length, 1)
    open.open()
  })

  test(`${name}: limits.maxRequestsPerConnection counts what is pipelined`, async () => {
    const { script } = counting()
    await using backend = await mockBackend(script)
    await using front = await run({ target: backend.url, limits: { maxRequestsPerConnection: 3 } })
    const client = rawClient(front.port)
    client.write(first + Array.from({ length: 10 }, (_, i) => head('GET', `/${i}`)).join(''))
    await client.ended
    assert.equal(client.text.match(/200 OK/g)?.length, 3)
    assert.equal(backend.requests.length, 3)
  })

  test(`${name}: a cut behind another response ends, and leaves no descriptor open`, async () => {
    const begun = gate()
    const open = gate()
    await using backend = await mockBackend(async (request, reply) => {
      if (request.path !== '/1') {
        reply.head({ headers: { 'content-length': '100' } })
        reply.chunk('part')
        return reply.abort()
      }
      reply.head({ headers: { 'content-length': '4' } })
      reply.chunk('ab')
      begun.open()
      await open.promise
      reply.chunk('cd')
      reply.end()
    })
    await using front = await run({ target: backend.url })
    const before = readdirSync('/proc/self/fd').length
    const clients = Array.from({ length: 10 }, () => {
      const client = rawClient(front.port)
      client.write(first + head('GET', '/1') + head('GET', '/2') + head('GET', '/3'))
      return client
    })
    await begun.promise
    await Promise.all(clients.map((client) => client.until('ab')))
    open.open()
    await Promise.all(clients.map((client) => client.ended))
    for (const { text } of clients) assert.match(text, /abcdHTTP[\s\S]*part$/)
    await backend.untilOpenConnections(front.proxy.stats().groups[0]?.pool.backends[0]?.idle ?? 0)
    while (readdirSync('/proc/self/fd').length > before + 2 * backend.openConnections) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  })
}

test("the application's own responses keep their place in a pipeline, and what ends the connection ends it", async () => {
  const { script } = counting()
  await using backend = await mockBackend(script)
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      if (req.url === '/own') res.end('own.')
      else if (req.url === '/late') setTimeout(() => res.end('late.'), 50)
      else if (req.url === '/last') setTimeout(() => res.writeHead(200, { connection: 'close' }).end('last.'), 20)
      else proxy.web(req, res)
    }),
  )
  const client = rawClient(front.port)
  const paths = ['/late', '/1', '/own', '/2', '/last']
  client.write(paths.map((path) => head('GET', path)).join('') + head('DELETE', '/3') + head('DELETE', '/4'))
  await client.ended
  await rounds()
  assert.match(client.text, /late\.[\s\S]*GET \/1\.[\s\S]*own\.[\s\S]*GET \/2\.[\s\S]*last\.\r\n0\r\n\r\n$/)
  assert.deepEqual(
    backend.requests.map(({ path }) => path),
    ['/1', '/2'],
  )
})

test('what the application answers by itself while it waits is for no backend', async () => {
  const open = gate()
  const { script } = counting(open.promise)
  await using backend = await mockBackend(script)
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      proxy.web(req, res)
      if (req.url === '/2') res.end('given up.')
    }),
  )
  const client = rawClient(front.port)
  client.write(head('GET', '/1') + head('GET', '/2') + head('GET', '/3'))
  await backend.nextRequestHead()
  open.open()
  await client.until('GET /3.')
  assert.match(client.text, /GET \/1\.[\s\S]*given up\.[\s\S]*GET \/3\./)
  assert.equal(backend.requests.length, 2)
  assert.deepEqual([(await front.nextRecord()).outcome, (await front.nextRecord()).outcome], ['answered', 'local'])
  client.socket.destroy()
})

test('a client that sends without end is read no further than its responses come', async () => {
  const open = gate()
  const { script } = counting(open.promise)
  await using backend = await mockBackend(script)
  let served: net.Socket | null = null
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer(proxy.web).on('connection', (socket) => {
      served = socket
    }),
  )
  const client = rawClient(front.port)
  const many = Array.from({ length: 500 }, (_, i) => head('GET', `/${i}`, `X-Filler: ${'x'.repeat(1000)}\r\n`)).join('')
  let sent = 0
  while (client.socket.write(many, 'latin1') && sent < 100) sent++
  for (let i = 0; i < 100; i++) client.write(many)
  await backend.nextRequestHead()
  const { bytesRead } = served as unknown as net.Socket
  await rounds(200)
  const after = (served as unknown as net.Socket).bytesRead
  assert.ok(after - bytesRead < 500_000 && after < 2_000_000, `${bytesRead}, then ${after}`)
  open.open()
  // It goes on.
  await client.until('the answer to GET /499.')
  client.socket.destroy()
})

test('a pipeline goes on when a large response has waited for its client to read', async () => {
  await using backend = await mockBackend((request, reply) =>
    reply.send({ body: request.path === '/large' ? Buffer.alloc(5_000_000, 'a') : `the answer to ${request.path}.` }),
  )
  await using front = await runInServer({ target: backend.url })
  const client = rawClient(front.port)
  client.socket.pause()
  client.write(head('GET', '/large') + Array.from({ length: 100 }, (_, i) => head('GET', `/${i}`)).join(''))
  await backend.nextRequestHead()
  await rounds(100)
  client.socket.resume()
  await client.until('the answer to /99.')
  // And reads on after that.
  client.write(head('GET', '/again'))
  await client.until('the answer to /again.')
  client.socket.destroy()
})
