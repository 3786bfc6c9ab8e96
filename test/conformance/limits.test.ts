import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import type { LimitOptions } from '../../src/config/options.ts'
import { resolveOptions } from '../../src/config/resolve.ts'
import type { Core } from '../../src/exchange/services.ts'
import { createListener } from '../../src/fronts/listen.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { MIB } from '../support/bytes.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { FRONTS, rounds } from '../support/running-proxy.ts'
import { NEXT, passes, refuses, stage, statuses } from './stage.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n'

interface Bound {
  readonly rule: string
  readonly limits: LimitOptions
  readonly within: string
  readonly past: string
  readonly status: number
  /** The limit holds in an application's server, too. */
  readonly everywhere?: true
}

const target = (bytes: number): string => `GET /${'x'.repeat(bytes - 1)} HTTP/1.1\r\nHost: a\r\n\r\n`
const headers = (count: number): string => `${GET}${'X: 1\r\n'.repeat(count - 1)}\r\n`
const head = (bytes: number): string => `${GET}X: ${'x'.repeat(bytes)}\r\n\r\n`

const bounds: Bound[] = [
  {
    rule: 'limits.maxTargetBytes',
    limits: { maxTargetBytes: 50 },
    within: target(50),
    past: target(51),
    status: 414,
    everywhere: true,
  },
  {
    rule: 'limits.maxTargetBytes by default',
    limits: {},
    within: target(8192),
    past: target(8193),
    status: 414,
    everywhere: true,
  },
  {
    rule: 'limits.maxHeaders',
    limits: { maxHeaders: 10 },
    within: headers(10),
    past: headers(11),
    status: 431,
    everywhere: true,
  },
  {
    rule: 'limits.maxHeaders by default',
    limits: {},
    within: headers(100),
    past: headers(101),
    status: 431,
    everywhere: true,
  },
  {
    rule: 'limits.maxHeaders over what node keeps',
    limits: { maxHeaders: 2500 },
    within: headers(2500),
    past: headers(2501),
    status: 431,
  },
  { rule: 'limits.maxHeadBytes', limits: { maxHeadBytes: 1024 }, within: head(1000), past: head(1024), status: 431 },
  { rule: 'limits.maxHeadBytes by default', limits: {}, within: head(16_000), past: head(16_400), status: 431 },
  {
    rule: 'limits.maxHeadBytes over the default',
    limits: { maxHeadBytes: 100_000 },
    within: head(99_000),
    past: head(100_000),
    status: 431,
  },
]

describe('bounds of a request head', () => {
  for (const { rule, limits, within, past, status, everywhere } of bounds) {
    for (const { name, run } of FRONTS.filter(({ isOurs }) => isOurs || everywhere)) {
      test(`${rule}, ${name}`, async () => {
        await using on = await stage({ limits }, undefined, run)
        const codes: string[] = []
        on.front.proxy.on('error', ({ code }) => codes.push(code))
        await passes(on, within, within)
        const client = await refuses(on, past, status)
        assert.deepEqual(codes, [status === 414 ? 'ERR_PROXY_TARGET_TOO_LONG' : 'ERR_PROXY_HEAD_TOO_LARGE'])
        assert.match(client.text, new RegExp(`${codes[0]}`))
      })
    }
  }
})

for (const { name, run } of FRONTS) {
  describe(name, () => {
    for (const { rule, past } of [
      { rule: 'limits.maxBodyBytes, announced', past: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef' },
      {
        rule: 'limits.maxBodyBytes, announced with Expect',
        past: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n',
      },
    ]) {
      test(rule, async () => {
        await using on = await stage({ limits: { maxBodyBytes: 5 } }, undefined, run)
        const within = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde'
        await passes(on, within, within)
        const client = await refuses(on, past, 413)
        assert.doesNotMatch(client.text, /100 Continue/)
      })
    }

    test('more than 100 interim responses', async () => {
      await using backend = await mockBackend((_request, reply) => {
        for (let i = 0; i < 101; i++) reply.informational(103, ['Link', '</a>'])
        reply.send({ body: 'x' })
      })
      await using front = await run({ target: backend.url, retry: false })
      const { text } = await converse(front.port, `${GET}Connection: close\r\n\r\n`)
      assert.deepEqual(statuses(text), [502])
      assert.equal(text.match(/ 103 /g)?.length, 100)
    })

    test('pool.maxInterimResponses', async () => {
      let hints = 2
      await using on = await stage(
        { pool: { maxConnections: 1, maxInterimResponses: 2 } },
        (_request, reply) => {
          for (let i = 0; i < hints; i++) reply.informational(103)
          reply.send()
        },
        run,
      )
      assert.equal((await fetch(on.front.url)).status, 200)
      hints = 3
      const past = await fetch(on.front.url)
      assert.equal(past.status, 502)
      assert.match(await past.text(), /ERR_PROXY_BAD_RESPONSE/)
      hints = 0
      assert.equal((await fetch(on.front.url)).status, 200)
      assert.equal(on.backend.connections, 2, 'what comes behind a refused answer cannot be trusted')
    })

    describe('slow bodies', () => {
      test('limits.minBodyBytesPerSecond', async () => {
        const clock = manualClock()
        // What comes last, from the client's first byte on: 5 s, and 10 ms for each byte.
        await using on = await stage({ limits: { minBodyBytesPerSecond: 100 }, clock }, undefined, run)
        const client = rawClient(on.front.port)
        client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n')
        const request = await on.backend.nextRequestHead()
        for (let i = 1; i <= 8; i++) {
          client.write('x'.repeat(50))
          while (request.bodyBytes.length < i * 50 && client.text === '') await rounds(1)
          clock.advance(1000)
        }
        client.write('x'.repeat(50))
        while (request.bodyBytes.length < 450 && client.text === '') await rounds(1)
        assert.equal(client.text, '')
        clock.advance(1600)
        await client.ended
        assert.deepEqual(statuses(client.text), [408])
        assert.match(client.text, /ERR_PROXY_CLIENT_TIMEOUT/)
        const record = await on.front.nextRecord()
        assert.equal(record.errorCode, 'ERR_PROXY_CLIENT_TIMEOUT')
        assert.match(on.front.errors[0]?.message ?? '', /less than 100 bytes a second/)
        await on.backend.untilOpenConnections(0)
      })

      test('limits.minBodyBytesPerSecond counts only while the client is waited for', async () => {
        const clock = manualClock()
        const options = { limits: { minBodyBytesPerSecond: 2 ** 30 }, timeouts: { idle: 100_000 }, clock }
        await using on = await stage(
          options,
          (request) => request.pause(),
          (all) => run(all),
        )
        const client = rawClient(on.front.port)
        client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${32 * MIB}\r\n\r\n`)
        await on.backend.nextRequestHead()
        client.write(Buffer.alloc(32 * MIB))
        // What has come fills all buffers on the way, and then the backend is waited for.
        for (let before = -1, now = 0; now > before; ) {
          before = now
          await rounds(50)
          now = client.socket.bytesWritten - client.socket.writableLength
        }
        clock.advance(60_000)
        await rounds()
        assert.equal(client.text, '')
        clock.advance(60_000)
        assert.match(await client.until('ERR_PROXY_IDLE_TIMEOUT'), /^HTTP\/1\.1 504 /)
        client.socket.destroy()
      })
    })

    test('limits.maxRequestsPerConnection', async () => {
      await using on = await stage({ limits: { maxRequestsPerConnection: 2 } }, undefined, run)
      const client = rawClient(on.front.port)
      client.write(`${GET}\r\n`)
      await client.until('GET /')
      client.write(NEXT)
      assert.equal(await client.ended, 'end')
      assert.match(client.text, /keep-alive[\s\S]*\r\nConnection: close\r\n[\s\S]*GET \/next$/i)
      assert.equal(on.attempts(), 2)
    })

    test('limits.maxConnectionAgeMs', async () => {
      const clock = manualClock()
      await using on = await stage({ limits: { maxConnectionAgeMs: 10_000 }, clock }, undefined, run)
      const client = rawClient(on.front.port)
      client.write(NEXT)
      await client.until('GET /next')
      clock.advance(8_900)
      client.write(NEXT)
      await client.until('GET /next', 2)
      assert.doesNotMatch(client.text, /Connection: close/)
      clock.advance(2_200)
      client.write(`${GET}\r\n${NEXT}`)
      assert.equal(await client.ended, 'end')
      assert.match(client.text, /\r\nConnection: close\r\n[\s\S]*GET \/$/)
    })

    test('limits.maxRequestsPerConnection, in a pipeline', async () => {
      await using on = await stage({ limits: { maxRequestsPerConnection: 2 } }, undefined, run)
      const { text } = await converse(on.front.port, `${GET}\r\n${NEXT}${NEXT}${NEXT}`)
      assert.deepEqual(statuses(text), [200, 200])
      assert.equal(on.attempts(), 2)
    })
  })
}

test('limits.maxConnections', async () => {
  await using on = await stage({ limits: { maxConnections: 2 } })
  const open = [rawClient(on.front.port), rawClient(on.front.port)]
  for (const client of open) {
    client.write(NEXT)
    await client.until('GET /next')
  }
  const third = rawClient(on.front.port)
  third.write(NEXT)
  await third.ended
  assert.equal(third.text, '')
  assert.equal(on.attempts(), 2)
  open[0]?.socket.end()
  await open[0]?.ended
  const fourth = rawClient(on.front.port)
  fourth.write(NEXT)
  await fourth.until('GET /next')
  fourth.socket.destroy()
  open[1]?.socket.destroy()
})

describe('slow clients: 408, and the connection ends', () => {
  for (const { rule, limits, bytes, attempts } of [
    {
      rule: 'limits.headTimeoutMs, of a client that says nothing',
      limits: { headTimeoutMs: 40 },
      bytes: '',
      attempts: 0,
    },
    {
      rule: 'limits.headTimeoutMs, of a head that does not end',
      limits: { headTimeoutMs: 40 },
      bytes: GET,
      attempts: 0,
    },
    {
      rule: 'limits.headTimeoutMs, of the second head of a connection',
      limits: { headTimeoutMs: 40 },
      bytes: `${NEXT}${GET}`,
      attempts: 1,
    },
    {
      rule: 'limits.headTimeoutMs over limits.requestTimeoutMs',
      limits: { headTimeoutMs: 10_000, requestTimeoutMs: 40 },
      bytes: GET,
      attempts: 0,
    },
    {
      rule: 'limits.requestTimeoutMs, of a body that does not end',
      limits: { requestTimeoutMs: 40 },
      bytes: `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab`,
      attempts: 1,
    },
  ]) {
    test(rule, async () => {
      await using on = await stage({ limits })
      const { text } = await converse(on.front.port, bytes)
      assert.equal(statuses(text).at(-1), 408, text)
      assert.match(text, /\(ERR_PROXY_CLIENT_TIMEOUT\)\n$/)
      assert.equal(on.attempts(), attempts)
      assert.ok(!on.arrived().some(({ method, isComplete }) => method === 'POST' && isComplete))
    })
  }

  test('limits.headTimeoutMs does not end a body that comes slowly', async () => {
    await using on = await stage({ limits: { headTimeoutMs: 30 } })
    const slow = rawClient(on.front.port)
    slow.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab')
    // Another client is late, later than this one would be.
    await converse(on.front.port, GET)
    slow.write('cd')
    await slow.until('POST /')
    slow.socket.destroy()
  })

  test('limits.headTimeoutMs by default', () => {
    const { limits } = resolveOptions({ target: 'http://127.0.0.1:1' })
    const server = createListener({ snapshot: { limits } } as Core)
    assert.equal(server.headersTimeout, 60_000)
    assert.equal(server.requestTimeout, 0)
  })
})

test('a client that was refused may go on to send, and reads its answer all the same', async () => {
  await using on = await stage()
  const client = rawClient(on.front.port)
  client.socket.allowHalfOpen = true
  const junk = 'x'.repeat(100_000)
  client.write(`GET / HTTP/1.1\r\nHost: a\nb\r\n\r\n${junk}`)
  await once(client.socket, 'end')
  assert.deepEqual(statuses(client.text), [400])
  client.write(junk)
  await rounds()
  client.write(junk)
  client.socket.end()
  assert.equal(await client.ended, 'end')
})
