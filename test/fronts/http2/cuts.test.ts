import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CODE } from '../../../src/http2/protocol.ts'
import { createProxy, type ExchangeRecord } from '../../../src/index.ts'
import { type MockHandler, mockBackend } from '../../../src/testing/index.ts'
import { certificate, key } from '../../support/certificates.ts'
import { curl, withoutCurl } from '../../support/curl.ts'
import { queue } from '../../support/running-proxy.ts'
import { http2Client } from './client.ts'

const HEAD = 'HTTP/1.1 200 OK\r\n'
const BODIES = {
  'Content-Length': { begin: `${HEAD}Content-Length: 20\r\n\r\n0123456789`, rest: '0123456789' },
  chunked: {
    begin: `${HEAD}Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n`,
    rest: 'a\r\n0123456789\r\n0\r\n\r\n',
  },
  'chunked, of which the last chunk is missing': {
    begin: `${HEAD}Transfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n`,
    rest: '0\r\n\r\n',
  },
  'nothing but the end of the connection': { begin: `${HEAD}\r\n0123456789`, rest: '0123456789' },
}
const WAYS = ['FIN', 'RST'] as const

/** What the client must see: a whole response of this status, or a cut. */
type End = 200 | 502 | 'cut'

interface Row {
  readonly what: string
  readonly end: End
  readonly handler: MockHandler
}

const ROWS: Row[] = WAYS.flatMap((way) => [
  { what: `${way} before the head`, end: 502, handler: cutAfter('', way) },
  { what: `${way} in the head`, end: 502, handler: cutAfter(HEAD, way) },
  ...Object.entries(BODIES).flatMap(([framing, { begin, rest }]): Row[] => [
    // Only a RST tells that such a body is not whole.
    {
      what: `${way} in the body, ${framing}`,
      end: framing.startsWith('nothing') && way === 'FIN' ? 200 : 'cut',
      handler: cutAfter(begin, way),
    },
    ...(framing.startsWith('nothing')
      ? []
      : [{ what: `${way} after the body, ${framing}`, end: 200 as const, handler: cutAfter(begin + rest, way) }]),
  ]),
])

/** Sends the bytes, and ends the connection when the proxy has passed them on. */
function cutAfter(bytes: string, way: (typeof WAYS)[number]): MockHandler {
  return async (_request, reply) => {
    if (bytes !== '') reply.raw(bytes)
    await reply.drained()
    if (way === 'RST') reply.reset()
    else reply.abort()
  }
}

/** A proxy for HTTP/2 in clear text and over TLS. */
async function run(handler: MockHandler) {
  const backend = await mockBackend(handler)
  const proxy = createProxy({
    target: backend.url,
    retry: false,
    healthCheck: false,
    logger: 'silent',
    drainTimeoutMs: 100,
  })
  const records = queue<ExchangeRecord>()
  proxy.on('finish', (_exchange, record) => records.push(record))
  const clear = await proxy.listen({ host: '127.0.0.1', port: 0, protocols: ['h2'] })
  const secure = await proxy.listen({ host: '127.0.0.1', port: 0, tls: { key, cert: certificate } })
  return {
    backend,
    port: clear.port,
    urls: [clear.url, secure.url],
    nextRecord: records.next,
    async [Symbol.asyncDispose]() {
      await proxy.close()
      await backend.close()
    },
  }
}

describe('a response that is cut never ends cleanly', () => {
  for (const { what, end, handler } of ROWS) {
    test(`${what}: ${end}, node:http2`, async () => {
      await using front = await run(handler)
      await using client = http2Client(front.port)
      const { status, code } = await client.ask({ ':path': '/' })
      if (end === 'cut') assert.deepEqual([code], [CODE.INTERNAL_ERROR])
      else assert.deepEqual([status, code], [end, CODE.NO_ERROR])
      assert.equal(
        (await front.nextRecord()).outcome,
        end === 'cut' ? 'truncated' : end === 502 ? 'failed' : 'answered',
      )
      // The connection is not to blame.
      assert.equal(client.session.destroyed, false)
    })

    test(`${what}: ${end}, curl`, { skip: withoutCurl }, async () => {
      await using front = await run(handler)
      for (const url of front.urls) {
        const version = url.startsWith('https') ? '--insecure' : '--http2-prior-knowledge'
        const { code, stdout } = await curl([version, '-o', '/dev/null', '-w', '%{http_version} %{http_code}', url])
        // 92: the stream was reset.
        if (end === 'cut') assert.ok(code === 92 || code === 18, `exit code ${code}`)
        else assert.deepEqual([code, String(stdout)], [0, `2 ${end}`])
      }
    })
  }
})

/** All codes, and one that nobody knows. */
const CODES = [...Object.values(CODE), 999]
const PHASES = ['before the head', 'in the body', 'while it uploads'] as const

describe('a client that resets a stream, whatever the code, is gone; its other streams are not', () => {
  for (const phase of PHASES) {
    for (const code of CODES) {
      test(`${phase}, code ${code}`, async () => {
        await using front = await run((request, reply) => {
          if (request.path === '/other') return reply.send({ body: 'other' })
          if (phase !== 'in the body') return
          reply.head()
          reply.chunk('the first half')
        })
        await using client = http2Client(front.port)
        const upload = phase === 'while it uploads'
        const stream = client.session.request(
          { ':path': '/', ':method': upload ? 'POST' : 'GET' },
          { endStream: !upload },
        )
        stream.on('error', () => {})
        if (upload) stream.write('part')
        if (phase === 'in the body') await new Promise((resolve) => stream.once('data', resolve))
        else await front.backend.nextRequestHead()
        const closed = new Promise((resolve) => stream.once('close', resolve))
        stream.close(code)
        await closed
        const record = await front.nextRecord()
        assert.deepEqual([record.outcome, record.errorCode], ['aborted', 'ERR_PROXY_CLIENT_GONE'])
        assert.equal((await client.ask({ ':path': '/other' })).body, 'other')
      })
    }
  }

  test('after the response: it was answered', async () => {
    await using front = await run((_request, reply) => reply.send({ body: 'whole' }))
    await using client = http2Client(front.port)
    assert.equal((await client.ask({ ':path': '/' })).body, 'whole')
    assert.equal((await front.nextRecord()).outcome, 'answered')
  })
})
