import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { describe, test } from 'node:test'
import tls from 'node:tls'
import { retireServer, stopListening } from '../../src/fronts/retire.ts'
import type { ProxyOptions } from '../../src/index.ts'
import {
  deadPort,
  type MockHandler,
  type MockReply,
  manualClock,
  mockBackend,
  neverAnswer,
} from '../../src/testing/index.ts'
import { MIB, randomBytes, sha256 } from '../support/bytes.ts'
import { certificate, key } from '../support/certificates.ts'
import { converse, type RawClient, rawClient } from '../support/raw-client.ts'
import { gate, queue, rounds } from '../support/running-proxy.ts'
import {
  type RunningSocketServer,
  runSocketServer,
  type SocketServerOptions,
} from '../support/running-socket-server.ts'

const GET = 'GET /1 HTTP/1.1\r\nHost: a\r\n\r\n'
const LAST = 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

const echo: MockHandler = async (request, reply) => {
  const body = await request.body()
  reply.send({ body, trailers: request.trailers ?? [] })
}

/** What the socket server does, and node:http's server behind the same proxy. */
function alike(name: string, run: (start: typeof runSocketServer) => Promise<void>): void {
  test(`socket server: ${name}`, () => run(runSocketServer))
  test(`node:http: ${name}`, () => run((options, own) => runSocketServer(options, { ...own, isBare: true })))
}

/** The body of the last answer in `text`, of known length. */
function bodyOf(text: string): string {
  return text.slice(text.lastIndexOf('\r\n\r\n') + 4)
}

describe('connections', () => {
  test('of idle connections, those are left alone whose last answer began before the socket server was to end and said that they stay', async () => {
    const open = gate()
    await using backend = await mockBackend([
      { body: 'idle' },
      async (_request, reply) => {
        reply.head()
        reply.chunk('begun')
        await open.promise
        reply.end()
      },
      { body: 'another' },
    ])
    await using running = await runSocketServer({ target: backend.url })
    const [idle, begun] = [rawClient(running.port), rawClient(running.port)]
    idle.write(GET)
    await idle.until('idle')
    await running.nextRecord()
    begun.write(GET)
    await begun.until('begun')
    running.core.services.activity.isClosing = true
    open.open()
    assert.doesNotMatch(await begun.until('0\r\n\r\n'), /connection: close/i)
    await running.nextRecord()
    running.server.closeIdleConnections()
    begun.write(GET)
    assert.match(await begun.until('another'), /connection: close/i)
    await idle.ended
    await begun.ended
  })

  alike('a connection carries one request after another, and says how long it is kept', async (start) => {
    await using backend = await mockBackend()
    await using run = await start({ target: backend.url })
    const client = rawClient(run.port)
    for (const path of ['/1', '/2', '/3']) {
      client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      await client.until(`GET ${path}`)
    }
    assert.equal(client.text.match(/\r\nConnection: keep-alive\r\nKeep-Alive: timeout=65\r\n/g)?.length, 3)
    assert.equal(backend.connections, 1)
    assert.equal(run.handedOver.length, 0)
    client.write(LAST)
    assert.equal(await client.ended, 'end')
    assert.match(client.text, /\r\nConnection: close\r\n[\s\S]*GET \/last$/)
  })

  alike('requests in one packet are answered in their order', async (start) => {
    const goOn = gate()
    await using backend = await mockBackend(async (request, reply) => {
      const body = await request.body()
      if (request.path === '/1') await goOn.promise
      reply.send({ body: `<${request.path} ${body}>` })
    })
    await using run = await start({ target: backend.url })
    const client = rawClient(run.port)
    const post = 'POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody'
    const chunked =
      'PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nin\r\n6\r\nchunks\r\n0\r\n\r\n'
    client.write(GET + post + chunked + LAST)
    await backend.nextRequest()
    await rounds()
    goOn.open()
    await client.ended
    assert.deepEqual(client.text.match(/<.*?>/g), ['</1 >', '</2 body>', '</3 inchunks>', '</last >'])
    assert.equal(run.handedOver.length, 0)
  })

  test('a thousand requests that fail at once neither overflow the stack nor lose their order', async () => {
    const { url } = await deadPort()
    await using run = await runSocketServer({ target: url, routes: [{ path: '/there' }] })
    const client = rawClient(run.port)
    client.write(GET.repeat(1000) + LAST)
    await client.ended
    assert.equal(client.text.match(/HTTP\/1\.1 404 Not Found\r\n/g)?.length, 1001)
  })

  alike('limits.maxRequestsPerConnection: the last answer says that it is the last', async (start) => {
    await using backend = await mockBackend()
    await using run = await start({ target: backend.url, limits: { maxRequestsPerConnection: 2 } })
    const client = rawClient(run.port)
    client.write(GET)
    await client.until('GET /1')
    client.write(GET)
    assert.equal(await client.ended, 'end')
    assert.deepEqual(client.text.match(/\r\nConnection: \S+/g), ['\r\nConnection: keep-alive', '\r\nConnection: close'])
  })

  test('limits.maxConnections counts those that were handed over', async () => {
    await using backend = await mockBackend()
    await using run = await runSocketServer({ target: backend.url, limits: { maxConnections: 2 } })
    const [first, second] = [rawClient(run.port), rawClient(run.port)]
    first.write(GET)
    await first.until('GET /1')
    second.write('GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
    await second.until('GET /1')
    assert.equal(run.handedOver.length, 1)
    const third = rawClient(run.port)
    await third.ended
    assert.equal(third.text, '')
    second.socket.destroy()
    await once(run.handedOver[0] as never, 'close')
    const fourth = rawClient(run.port)
    fourth.write(GET)
    await fourth.until('GET /1')
  })

  /** Without it a FIN alone is no sign that a client has gone; see half-closed.test.ts. */
  const limits = { halfClose: 'abort' } as const

  for (const gone of ['FIN', 'RST'] as const) {
    alike(`a client that goes by ${gone} ends the backend's work`, async (start) => {
      const reply = gate<MockReply>()
      await using backend = await mockBackend((_request, theirs) => reply.open(theirs))
      await using run = await start({ target: backend.url, limits })
      const client = rawClient(run.port)
      client.write(GET)
      const { closed } = await reply.promise
      if (gone === 'FIN') client.socket.destroy()
      else client.socket.resetAndDestroy()
      await closed
      assert.equal((await run.nextRecord()).errorCode, 'ERR_PROXY_CLIENT_GONE')
    })
  }

  alike('a client that ends its side before it has the answer gets none', async (start) => {
    await using backend = await mockBackend(neverAnswer)
    await using run = await start({ target: backend.url, limits })
    const client = rawClient(run.port)
    client.write(GET)
    await backend.nextRequest()
    client.socket.end()
    assert.equal(await client.ended, 'end')
    assert.equal(client.text, '')
    assert.equal((await run.nextRecord()).outcome, 'aborted')
    await backend.untilOpenConnections(0)
  })

  test('a client that ends its side just as its answer is about to be written gets it', async () => {
    const replies = queue<MockReply>()
    await using backend = await mockBackend((_request, reply) => replies.push(reply))
    await using run = await runSocketServer({ target: backend.url })
    const client = rawClient(run.port)
    client.write(GET)
    const reply = await replies.next()
    // Both are read in one turn, in this order, and the answer is written at its end.
    reply.send({ body: 'hello' })
    client.socket.end()
    assert.equal(await client.ended, 'end')
    assert.match(client.text, /\r\n\r\nhello$/)
    assert.equal((await run.nextRecord()).outcome, 'answered')
  })

  alike('a client that ends its side between requests is let go', async (start) => {
    await using backend = await mockBackend()
    await using run = await start({ target: backend.url })
    const client = rawClient(run.port)
    client.write(GET)
    await client.until('GET /1')
    client.socket.end()
    assert.equal(await client.ended, 'end')
    assert.equal(run.errors.length, 0)
  })

  for (const [what, bytes] of [
    ['a head', 'GET / HTTP/1.1\r\nHo'],
    ['a body', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf'],
  ] as const) {
    alike(`a client that ends its side in the middle of ${what} is told`, async (start) => {
      await using backend = await mockBackend(neverAnswer)
      await using run = await start({ target: backend.url })
      const client = rawClient(run.port)
      client.write(bytes)
      if (what === 'a body') await backend.nextRequestHead()
      client.socket.end()
      await client.ended
      assert.match(client.text, /^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*ERR_PROXY_BAD_REQUEST/)
      await backend.untilOpenConnections(0)
    })
  }
})

describe('handing over', () => {
  const plain = (head: string): string => `GET /odd HTTP/1.1\r\n${head}\r\n\r\n`
  const odd: readonly (readonly [what: string, bytes: string, expected: RegExp])[] = [
    ['HTTP/1.0', 'GET /odd HTTP/1.0\r\nHost: a\r\n\r\n', /200 OK[\s\S]*GET \/odd/],
    ['an absolute target', 'GET http://a/odd HTTP/1.1\r\nHost: a\r\n\r\n', /200 OK[\s\S]*GET \/odd/],
    ['OPTIONS *', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', /200 OK[\s\S]*OPTIONS \*/],
    ['a method that is not common', 'PROPFIND /odd HTTP/1.1\r\nHost: a\r\n\r\n', /200 OK[\s\S]*PROPFIND \/odd/],
    ['an unknown method', 'FETCH /odd HTTP/1.1\r\nHost: a\r\n\r\n', /400 Bad/],
    ['empty lines before', '\r\n\r\nGET /odd HTTP/1.1\r\nHost: a\r\n\r\n', /200 OK[\s\S]*GET \/odd/],
    [
      'Expect',
      'POST /odd HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi',
      /100 Continue\r\n\r\nHTTP\/1.1 200 OK[\s\S]*POST \/odd/,
    ],
    ['Upgrade', plain('Host: a\r\nConnection: Upgrade\r\nUpgrade: other'), /101 Switching[\s\S]*other protocol/],
    ['Max-Forwards', 'OPTIONS /odd HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n', /200 OK/],
    ['Proxy-Connection', plain('Host: a\r\nProxy-Connection: close'), /200 OK[\s\S]*GET \/odd/],
    ['no Host', plain('Accept: */*'), /400 Bad/],
    ['two Hosts', plain('Host: a\r\nHost: a'), /400 Bad/],
    ['a Host that is none', plain('Host: a/b'), /400 Bad/],
    ['a folded line', plain('Host: a\r\nX: 1\r\n 2'), /400 Bad|200 OK/],
    ['white space before the colon', plain('Host: a\r\nX : 1'), /400 Bad/],
    ['lines that end with LF', 'GET /odd HTTP/1.1\nHost: a\n\n', /400 Bad/],
    ['a line that ends with CR', 'GET /odd HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n', /400 Bad/],
    ['a NUL', plain('Host: a\r\nX: \0'), /400 Bad/],
    ['both framings', plain('Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked'), /400 Bad/],
    ['two lengths', plain('Host: a\r\nContent-Length: 0\r\nContent-Length: 0'), /400 Bad/],
    ['a length with a sign', plain('Host: a\r\nContent-Length: +0'), /400 Bad/],
    ['another coding', plain('Host: a\r\nTransfer-Encoding: gzip, chunked'), /400 Bad/],
    ['a fragment', 'GET /odd#1 HTTP/1.1\r\nHost: a\r\n\r\n', /400 Bad/],
    ['a head too large', plain(`Host: a\r\nX: ${'x'.repeat(20_000)}`), /431 /],
    ['a head too large of which no end comes', `GET /odd HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`, /431 /],
    ['too many headers', plain(`Host: a\r\n${'A: 1\r\n'.repeat(101)}B: 2`), /431 /],
    ['a target too long', `GET /${'x'.repeat(9000)} HTTP/1.1\r\nHost: a\r\n\r\n`, /414 /],
    ['garbage', '\x16\x03\x01\x02\0 TLS on a plain port', /400 Bad/],
  ]
  const answer: MockHandler = (request, reply) => {
    if (request.expectsContinue) reply.continue()
    if (request.header('upgrade') === undefined) return reply.send({ body: `${request.method} ${request.path}` })
    reply.raw('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\nother protocol')
    reply.takeOver()
  }

  for (const [what, bytes, expected] of odd) {
    test(`${what}: node:http answers, to a first request and to a later one, alone or behind another`, async () => {
      await using backend = await mockBackend(answer)
      await using run = await runSocketServer({ target: backend.url })
      const clients: RawClient[] = []
      for (const before of ['', GET]) {
        const client = rawClient(run.port)
        clients.push(client)
        if (before !== '') {
          client.write(before)
          await client.until('GET /1')
        }
        client.write(bytes)
      }
      const behind = rawClient(run.port)
      clients.push(behind)
      behind.write(GET + bytes)
      for (const client of clients) {
        const last = client === clients[0] ? expected : new RegExp(`200 OK.*GET /1.*${expected.source}`, 's')
        while (!last.test(client.text)) await Promise.race([once(client.socket, 'data'), once(client.socket, 'close')])
        client.socket.destroy()
      }
      assert.equal(run.handedOver.length, 3)
    })
  }

  test('a connection that was handed over stays there, and is bound to the time limits of node:http', async () => {
    await using backend = await mockBackend()
    await using run = await runSocketServer({ target: backend.url, limits: { headTimeoutMs: 40 } })
    const client = rawClient(run.port)
    client.write('GET http://a/1 HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('GET /1')
    client.write('GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3')
    await client.ended
    assert.match(client.text, /GET \/2HTTP\/1\.1 408 /)
    assert.equal(run.handedOver.length, 1)
  })

  test('what no route matches goes to the application, and proxied routes still do not', async () => {
    await using backend = await mockBackend()
    await using run = await runSocketServer(
      { target: backend.url, routes: [{ path: '/api' }] },
      { application: (req, res) => res.end(`application ${req.url}`) },
    )
    const client = rawClient(run.port)
    client.write('GET /api/1 HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('GET /api/1')
    assert.equal(run.handedOver.length, 0)
    client.write('GET /page HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('application /page')
    client.write('GET /api/../page HTTP/1.1\r\nHost: a\r\n\r\n')
    client.write('GET /api/2 HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('GET /api/2')
    assert.equal(run.handedOver.length, 1)
    assert.deepEqual(
      backend.requests.map(({ path }) => path),
      ['/api/1', '/api/2'],
    )
    const devious = rawClient(run.port)
    devious.write('GET /api/../page HTTP/1.1\r\nHost: a\r\n\r\n')
    await devious.until('application /api/../page')
  })
})

describe('time', () => {
  async function still(
    options: ProxyOptions = {},
  ): Promise<{ run: RunningSocketServer; clock: ReturnType<typeof manualClock> }> {
    const clock = manualClock()
    const run = await runSocketServer({ target: 'http://127.0.0.1:1', ...options, clock })
    return { run, clock }
  }

  test('a head that comes byte by byte is read, and not handed over', async () => {
    await using backend = await mockBackend()
    await using run = await runSocketServer({ target: backend.url })
    const client = rawClient(run.port)
    client.socket.setNoDelay(true)
    for (const byte of 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET /y HTTP/1.1\r\nHost: a\r\n\r\n') {
      client.write(byte)
      await rounds(1)
    }
    await client.until('GET /y')
    assert.equal(backend.requests[0]?.bodyText, 'body')
    assert.equal(run.handedOver.length, 0)
  })

  for (const [what, bytes] of [
    ['nothing', ''],
    ['half of a head', 'GET / HTTP/1.1\r\nHo'],
  ] as const) {
    test(`a client that sends ${what} gets 408 after limits.headTimeoutMs`, async () => {
      const { run, clock } = await still({ limits: { headTimeoutMs: 5000 } })
      await using _ = run
      const client = rawClient(run.port)
      await once(run.server, 'connection')
      client.write(bytes)
      await rounds()
      clock.advance(4990)
      await rounds()
      assert.equal(client.text, '')
      clock.advance(50)
      await client.until('ERR_PROXY_CLIENT_TIMEOUT')
      assert.match(client.text, /^HTTP\/1\.1 408 Request Timeout\r\n/)
      clock.advance(2000)
      await client.ended
      assert.equal(run.errors[0]?.code, 'ERR_PROXY_CLIENT_TIMEOUT')
    })
  }

  test('half of a later head has limits.headTimeoutMs from its first byte', async () => {
    await using backend = await mockBackend()
    const { run, clock } = await still({ target: backend.url, limits: { headTimeoutMs: 5000 } })
    await using _ = run
    const client = rawClient(run.port)
    client.write(GET)
    await client.until('GET /1')
    clock.advance(30_000)
    client.write('GET /2')
    await rounds()
    clock.advance(4990)
    client.write(' HTTP/1.1\r\nHost: a\r\n')
    await rounds()
    clock.advance(50)
    await client.until('408 Request Timeout')
  })

  test('an idle connection is closed, without a word, a second after the time that was announced', async () => {
    await using backend = await mockBackend()
    const { run, clock } = await still({ target: backend.url })
    await using _ = run
    const client = rawClient(run.port)
    client.write(GET)
    await client.until('GET /1')
    await run.nextRecord()
    clock.advance(65_900)
    client.write(GET)
    await client.until('GET /1HTTP')
    await run.nextRecord()
    const { length } = client.text
    clock.advance(66_100)
    assert.equal(await client.ended, 'end')
    assert.equal(client.text.length, length)
  })

  test('limits.requestTimeoutMs ends a body that does not come', async () => {
    await using backend = await mockBackend(neverAnswer)
    const { run, clock } = await still({ target: backend.url, limits: { requestTimeoutMs: 9000 } })
    await using _ = run
    const client = rawClient(run.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf')
    await backend.nextRequestHead()
    clock.advance(9050)
    await client.until('408 Request Timeout')
    assert.equal((await run.nextRecord()).outcome, 'aborted')
    await backend.untilOpenConnections(0)
  })

  test('a client that does not go after its last answer is made to', async () => {
    await using backend = await mockBackend()
    const { run, clock } = await still({ target: backend.url })
    await using _ = run
    const client = rawClient(run.port)
    client.socket.allowHalfOpen = true
    client.write(LAST)
    await client.until('GET /last')
    const [socket] = await Promise.all([once(client.socket, 'end'), run.nextRecord()])
    assert.deepEqual(socket, [])
    assert.equal(await connections(run), 1)
    clock.advance(2100)
    await rounds()
    assert.equal(await connections(run), 0)
    client.socket.destroy()
  })
})

function connections(run: RunningSocketServer): Promise<number> {
  return new Promise((resolve) => run.server.getConnections((_error, count) => resolve(count)))
}

describe('bodies', () => {
  const big = randomBytes(10 * MIB)

  for (const [framing, head] of [
    ['of known length', `Content-Length: ${big.length}`],
    ['in chunks', 'Transfer-Encoding: chunked'],
  ] as const) {
    alike(`10 MiB ${framing} go up and come down byte by byte`, async (start) => {
      await using backend = await mockBackend(async (request, reply) => {
        const body = await request.body()
        if (framing === 'in chunks') reply.head()
        else reply.head({ headers: ['Content-Length', String(body.length)] })
        for (let i = 0; i < body.length && !reply.isClosed; i += 100_001) {
          if (!reply.chunk(body.subarray(i, i + 100_001))) await reply.drained()
        }
        reply.end()
      })
      await using run = await start({ target: backend.url })
      const response = await fetch(run.url, {
        method: 'POST',
        duplex: 'half',
        body:
          framing === 'in chunks'
            ? new ReadableStream({
                start(controller) {
                  for (let i = 0; i < big.length; i += 77_777) controller.enqueue(big.subarray(i, i + 77_777))
                  controller.close()
                },
              })
            : big,
      } as RequestInit)
      const received = await backend.nextRequest()
      assert.ok(received.rawHead.toLowerCase().includes(head.toLowerCase()))
      assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), sha256(big))
      assert.equal(sha256(received.bodyBytes), sha256(big))
      const record = await run.nextRecord()
      assert.deepEqual([record.requestBytes, record.responseBytes], [big.length, big.length])
    })
  }

  alike('small and large chunks mixed come down as they are', async (start) => {
    const sizes = [1, 9000, 8192, 8193, 2, 70_000, 3, 4, 16_384, 100]
    const pieces = sizes.map((size, i) => randomBytes(size, i + 1))
    await using backend = await mockBackend({ chunks: pieces })
    await using run = await start({ target: backend.url })
    const response = await fetch(run.url)
    assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), sha256(Buffer.concat(pieces)))
  })

  alike('trailers pass both ways', async (start) => {
    await using backend = await mockBackend(echo)
    await using run = await start({ target: backend.url })
    const { text } = await converse(
      run.port,
      'POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n' +
        '5;name=value\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n',
    )
    assert.deepEqual(backend.requests[0]?.trailers, ['X-Sum', '1', 'X-Sum', '2'])
    assert.match(text, /\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n$/)
  })

  alike('a client that does not read stops the backend', async (start) => {
    let sent = 0
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: ['Content-Length', String(256 * MIB)] })
      for (; sent < 256 * MIB && !reply.isClosed; sent += 65_536) {
        if (!reply.chunk(Buffer.alloc(65_536))) await reply.drained()
      }
    })
    await using run = await start({ target: backend.url })
    const accepted = once(run.server, 'connection')
    const client = rawClient(run.port)
    client.socket.pause()
    client.write(GET)
    const [socket] = (await accepted) as [Socket]
    for (let before = -1; before < sent || sent === 0; ) {
      before = sent
      await rounds(200)
    }
    assert.ok(sent < 256 * MIB)
    assert.ok(socket.writableLength < MIB, `${socket.writableLength} bytes are kept`)
    const stoppedAt = sent
    client.socket.resume()
    while (sent < stoppedAt + 8 * MIB) await rounds(1)
    client.socket.destroy()
  })

  alike('a backend that does not read stops the client', async (start) => {
    await using backend = await mockBackend((request, _reply) => request.pause())
    await using run = await start({ target: backend.url })
    const client = rawClient(run.port)
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${64 * MIB}\r\n\r\n`)
    await backend.nextRequestHead()
    client.socket.write(Buffer.alloc(64 * MIB))
    await rounds(200)
    assert.ok(client.socket.writableLength > 0)
    assert.ok((backend.requests[0]?.bodyBytes.length ?? 0) < 32 * MIB)
    client.socket.destroy()
  })

  alike(
    'a chunk that is malformed is answered 400, and the backend does not take the body for whole',
    async (start) => {
      await using backend = await mockBackend(neverAnswer)
      await using run = await start({ target: backend.url })
      const client = rawClient(run.port)
      client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
      const request = await backend.nextRequestHead()
      client.write(`zz\r\n${GET}`)
      await client.ended
      assert.match(client.text, /^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*ERR_PROXY_BAD_REQUEST\)\n$/)
      assert.equal((await run.nextRecord()).outcome, 'aborted')
      await backend.untilOpenConnections(0)
      assert.equal(request.isComplete, false)
      assert.equal(backend.requests.length, 1)
    },
  )

  alike('a malformed chunk behind the beginning of an answer cuts the answer', async (start) => {
    await using backend = await mockBackend((_request, reply) => {
      reply.head()
      reply.chunk('first')
    })
    await using run = await start({ target: backend.url })
    const client = rawClient(run.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
    await client.until('first')
    client.write('zz\r\n')
    await client.ended
    assert.match(client.text, /\r\n5\r\nfirst\r\n$/)
  })

  alike('an upload that is refused in the middle ends the connection, and the answer arrives', async (start) => {
    await using backend = await mockBackend((request, reply) => {
      request.pause()
      reply.send({ status: 413, headers: ['Connection', 'close'], body: 'too large' })
    })
    await using run = await start({ target: backend.url })
    const client = rawClient(run.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nhalf')
    await client.until('too large')
    assert.match(client.text, /^HTTP\/1\.1 413 [\s\S]*\r\nConnection: close\r\n/)
    assert.equal((await run.nextRecord()).status, 413)
    client.socket.destroy()
  })

  alike('a body that is accepted unread is read and dropped, and the connection goes on', async (start) => {
    await using backend = await mockBackend((_request, reply) => reply.send({ body: 'unread' }))
    await using run = await start({ target: backend.url, limits: { replayBytes: 0 } })
    const client = rawClient(run.port)
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${4 * MIB}\r\n\r\n`)
    await client.until('unread')
    await run.nextRecord()
    client.socket.write(Buffer.alloc(4 * MIB))
    client.write(LAST)
    assert.equal(await client.ended, 'end')
    assert.equal(client.text.match(/unread/g)?.length, 2)
  })

  test('a body that nobody reads any more is given up when nothing comes of it', async () => {
    await using backend = await mockBackend((_request, reply) => reply.send({ body: 'unread' }))
    const clock = manualClock()
    await using run = await runSocketServer({ target: backend.url, clock })
    const client = rawClient(run.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n')
    await client.until('unread')
    await run.nextRecord()
    clock.advance(66_100)
    await client.ended
  })
})

describe('answers', () => {
  alike('HEAD, 204 and 304 have no body, whatever their heads say', async (start) => {
    await using backend = await mockBackend((request, reply) => {
      if (request.method === 'HEAD') reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')
      else if (request.path === '/204') reply.raw('HTTP/1.1 204 No Content\r\n\r\n')
      else if (request.path === '/304') reply.raw('HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n')
      else return reply.send({ body: 'last' })
      reply.end()
    })
    await using run = await start({ target: backend.url })
    const head = 'HTTP/1.1\r\nHost: a\r\n\r\n'
    const { text } = await converse(run.port, `HEAD / ${head}GET /204 ${head}GET /304 ${head}${LAST}`)
    const heads = text.split('\r\n\r\n')
    assert.equal(heads.length, 5)
    assert.match(heads[0] ?? '', /^HTTP\/1\.1 200 OK\r\nContent-Length: 5\r\n/)
    assert.match(heads[1] ?? '', /^HTTP\/1\.1 204 No Content\r\n/)
    assert.match(heads[2] ?? '', /^HTTP\/1\.1 304 Not Modified\r\nContent-Length: 5\r\n/)
    assert.doesNotMatch(`${heads[0]}${heads[1]}${heads[2]}`, /Transfer-Encoding/i)
    assert.doesNotMatch(heads[1] ?? '', /Content-Length/i)
    assert.equal(heads[4], 'last')
  })

  alike('our own answer to HEAD has no body', async (start) => {
    await using run = await start({ target: (await deadPort()).url })
    const { text } = await converse(run.port, `HEAD / HTTP/1.1\r\nHost: a\r\n\r\n${LAST}`)
    assert.match(text, /^HTTP\/1\.1 502 [\s\S]*\r\n\r\nHTTP\/1\.1 502 [\s\S]*ERR_PROXY_CONNECT\)\n$/)
    assert.equal(text.match(/ERR_PROXY_CONNECT/g)?.length, 1)
  })

  alike('interim answers pass', async (start) => {
    await using backend = await mockBackend((_request, reply) => {
      reply.informational(103, ['Link', '</a.css>'])
      reply.send({ body: 'final' })
    })
    await using run = await start({ target: backend.url })
    const { text } = await converse(run.port, LAST)
    assert.match(text, /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*final$/)
  })

  alike(
    'names, order, case, duplicates and bytes over 0x7f stay as they are; Date is added where there is none',
    async (start) => {
      const fields = 'X-One: 1\r\nset-cookie: a\r\nSET-COOKIE: b\xe4\r\n'
      await using backend = await mockBackend((request, reply) => {
        reply.raw(
          `HTTP/1.1 299 Gr\xfc\xdfe\r\n${fields}${request.path === '/1' ? '' : 'date: then\r\n'}Content-Length: 2\r\n\r\n\xe4!`,
        )
        reply.end()
      })
      await using run = await start({ target: backend.url })
      const { text } = await converse(run.port, GET + LAST)
      const [first = '', second = ''] = text.split('\xe4!')
      assert.ok(first.startsWith(`HTTP/1.1 299 Gr\xfc\xdfe\r\n${fields}Content-Length: 2\r\n`))
      assert.match(first, /\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n/)
      assert.ok(second.includes(`${fields}date: then\r\nContent-Length: 2\r\n`))
      assert.doesNotMatch(second, /Date: /)
    },
  )

  alike('an answer that ends with its connection goes on in chunks', async (start) => {
    await using backend = await mockBackend({ untilClose: true, body: 'until close' })
    await using run = await start({ target: backend.url })
    const { text } = await converse(run.port, LAST)
    assert.match(text, /\r\nTransfer-Encoding: chunked\r\n[\s\S]*\r\nb\r\nuntil close\r\n0\r\n\r\n$/)
  })

  alike('a flushed piece does not wait for the next', async (start) => {
    const goOn = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head()
      await goOn.promise
      reply.chunk('one')
    })
    await using run = await start({ target: backend.url })
    const client = rawClient(run.port)
    client.write(GET)
    await client.until('\r\n\r\n')
    goOn.open()
    await client.until('one')
    client.socket.destroy()
  })

  for (const [framing, headers, rest] of [
    ['of known length', ['Content-Length', '100'], /\r\n\r\nfirst$/],
    ['in chunks', [], /\r\n\r\n5\r\nfirst\r\n$/],
  ] as const) {
    alike(`a body ${framing} that the backend cuts is cut`, async (start) => {
      await using backend = await mockBackend((_request, reply) => {
        reply.head({ headers })
        reply.chunk('first')
        reply.reset()
      })
      await using run = await start({ target: backend.url })
      const { text } = await converse(run.port, GET)
      assert.match(text, rest)
      assert.equal((await run.nextRecord()).outcome, 'truncated')
    })
  }
})

describe('close', () => {
  async function close({ server, core }: RunningSocketServer): Promise<void> {
    await stopListening(server)
    core.services.activity.isClosing = true
    await retireServer(server, 10_000, server.openConnections, server.answers())
  }

  test('ends idle connections, lets an answer finish with Connection: close, and then is closed', async () => {
    const goOn = gate()
    await using backend = await mockBackend(async (request, reply) => {
      if (request.path === '/1') await goOn.promise
      reply.send({ body: request.path })
    })
    await using run = await runSocketServer({ target: backend.url })
    const [idle, busy, silent, given, givenIdle] = Array.from({ length: 5 }, () => rawClient(run.port)) as [
      RawClient,
      RawClient,
      RawClient,
      RawClient,
      RawClient,
    ]
    idle.write('GET /idle HTTP/1.1\r\nHost: a\r\n\r\n')
    givenIdle.write('GET http://a/idle HTTP/1.1\r\nHost: a\r\n\r\n')
    await Promise.all([idle.until('/idle'), givenIdle.until('/idle')])
    busy.write(GET)
    given.write('GET http://a/1 HTTP/1.1\r\nHost: a\r\n\r\n')
    while (backend.requests.length < 4) await backend.nextRequest()
    let isClosed = false
    const closed = close(run).then(() => {
      isClosed = true
    })
    assert.deepEqual(await Promise.all([idle.ended, silent.ended, givenIdle.ended]), ['end', 'end', 'end'])
    assert.equal(await rawClient(run.port).ended, 'ECONNREFUSED')
    await rounds()
    assert.equal(isClosed, false)
    goOn.open()
    await Promise.all([busy.ended, given.ended])
    for (const { text } of [busy, given]) assert.match(text, /\r\nConnection: close\r\n[\s\S]*\/1$/)
    await closed
  })

  test('closeAllConnections() ends all, those that were handed over too', async () => {
    await using backend = await mockBackend(neverAnswer)
    await using run = await runSocketServer({ target: backend.url })
    const [ours, theirs] = [rawClient(run.port), rawClient(run.port)]
    ours.write(GET)
    theirs.write('GET / HTTP/1.0\r\n\r\n')
    for (let i = 0; i < 2; i++) await backend.nextRequest()
    run.server.closeAllConnections()
    await Promise.all([ours.ended, theirs.ended])
    for (let i = 0; i < 2; i++) assert.equal((await run.nextRecord()).outcome, 'aborted')
  })
})

describe('TLS', () => {
  function openAt(run: RunningSocketServer): Promise<number> {
    return new Promise((resolve, reject) => {
      run.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
    })
  }

  async function secure(own: tls.TlsOptions): Promise<RunningSocketServer> {
    const backend = await mockBackend()
    const run = await runSocketServer({ target: backend.url }, { tls: listenerTls(own) })
    run.server.once('close', () => void backend.close())
    return run
  }

  async function ask(run: RunningSocketServer, bytes: string, ca: string): Promise<string> {
    const socket = tls.connect({ port: run.port, host: '127.0.0.1', ca, servername: 'localhost' })
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.write(bytes)
    await once(socket, 'close')
    return text
  }

  test('requests are read behind TLS, and those that are not plain handed over', async () => {
    await using run = await secure({ key, cert: certificate })
    assert.equal(bodyOf(await ask(run, GET + LAST, certificate)), 'GET /last')
    assert.equal(run.handedOver.length, 0)
    assert.equal(bodyOf(await ask(run, 'GET /1 HTTP/1.0\r\n\r\n', certificate)), 'GET /1')
    assert.equal(run.handedOver.length, 1)
    assert.equal(
      bodyOf(await ask(run, `${GET}GET http://a/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`, certificate)),
      'GET /2',
    )
  })

  test('backends are told that it was https', async () => {
    await using backend = await mockBackend()
    await using run = await runSocketServer({ target: backend.url }, { tls: listenerTls({ key, cert: certificate }) })
    await ask(run, LAST, certificate)
    assert.equal(backend.requests[0]?.header('x-forwarded-proto'), 'https')
  })

  test('the certificate is replaced for new connections; one that cannot be used changes nothing', async () => {
    await using run = await secure({})
    await assert.rejects(ask(run, LAST, certificate))
    run.server.changeTls?.(listenerTls({ key, cert: certificate }, 'new'))
    assert.equal(bodyOf(await ask(run, LAST, certificate)), 'GET /last')
    assert.throws(() => run.server.changeTls?.(listenerTls({ key, cert: 'no certificate' }, 'broken')))
    assert.equal(bodyOf(await ask(run, LAST, certificate)), 'GET /last')
  })

  test('a client that goes in the middle of the handshake leaves nothing behind', async () => {
    await using run = await secure({ key, cert: certificate })
    for (const bytes of ['', '\x16\x03\x01']) {
      const client = rawClient(run.port)
      client.socket.allowHalfOpen = true
      if (bytes !== '') client.write(bytes)
      await once(run.server, 'connection')
      client.socket.end()
      await client.ended
    }
    while ((await openAt(run)) > 0) await rounds(1)
  })

  test('a handshake keeps nobody from closing', async () => {
    await using run = await secure({ key, cert: certificate })
    const client = rawClient(run.port)
    await once(run.server, 'connection')
    await stopListening(run.server)
    const closed = retireServer(run.server, 10_000, run.server.openConnections, [])
    await client.ended
    await closed
  })

  test('limits.headTimeoutMs holds for the handshake, and limits.maxConnections counts it', async () => {
    const limits = { headTimeoutMs: 200, maxConnections: 1 }
    await using backend = await mockBackend()
    await using run = await runSocketServer(
      { target: backend.url, limits },
      { tls: listenerTls({ key, cert: certificate }) },
    )
    const [first, second] = [rawClient(run.port), rawClient(run.port)]
    await second.ended
    assert.equal(first.socket.destroyed, false)
    await first.ended
    assert.equal(bodyOf(await ask(run, LAST, certificate)), 'GET /last')
  })

  test('a client that does not speak TLS, or breaks off, hurts nobody', async () => {
    await using run = await secure({ key, cert: certificate })
    await converse(run.port, GET)
    rawClient(run.port).socket.resetAndDestroy()
    assert.equal(bodyOf(await ask(run, LAST, certificate)), 'GET /last')
  })
})

/** @param session a context of other sessions is a new one. */
function listenerTls(options: tls.TlsOptions, session = 'first'): NonNullable<SocketServerOptions['tls']> {
  return {
    listener: 1,
    options: { sessionIdContext: session, ...options },
    certificates: [],
    challenges: null,
    clientAuth: null,
  }
}
