import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createProxy } from '../../src/index.ts'
import {
  badChunk,
  cutMidBody,
  cutMidHead,
  cutOnRequest,
  garbage,
  longBody,
  resetMidBody,
  resetMidHead,
  resetOnRequest,
  shortBody,
  twoFramings,
} from '../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { certificate, key } from '../support/certificates.ts'
import { curl, withoutCurl } from '../support/curl.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, runInServer, runProxy } from '../support/running-proxy.ts'

/** Promises 100 bytes, sends 10, then RST. */
const resetMidFixedBody: MockHandler = (_request, reply) => {
  reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789')
  reply.reset()
}

const raw =
  (bytes: string): MockHandler =>
  (_request, reply) => {
    reply.raw(bytes)
    reply.end()
  }

const beforeTheBody: readonly [string, MockHandler, string][] = [
  ['a reset before the head', resetOnRequest, 'ERR_PROXY_RESET'],
  ['a FIN before the head', cutOnRequest, 'ERR_PROXY_RESET'],
  ['a reset in the head', resetMidHead, 'ERR_PROXY_RESET'],
  ['a FIN in the head', cutMidHead, 'ERR_PROXY_RESET'],
  ['garbage', garbage, 'ERR_PROXY_BAD_RESPONSE'],
  ['two framings', twoFramings, 'ERR_PROXY_BAD_RESPONSE'],
  [
    'differing lengths',
    raw('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd'),
    'ERR_PROXY_BAD_RESPONSE',
  ],
  ['a length that is no number', raw('HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc'), 'ERR_PROXY_BAD_RESPONSE'],
  ['an unknown coding', raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc'), 'ERR_PROXY_BAD_RESPONSE'],
  ['a header without a colon', raw('HTTP/1.1 200 OK\r\nnonsense\r\n\r\n'), 'ERR_PROXY_BAD_RESPONSE'],
  ['a folded header', raw('HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n'), 'ERR_PROXY_BAD_RESPONSE'],
  ['a NUL in a header', raw('HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 0\r\n\r\n'), 'ERR_PROXY_BAD_RESPONSE'],
  ['an unasked 101', raw('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n'), 'ERR_PROXY_BAD_RESPONSE'],
  ['a head that is too large', raw(`HTTP/1.1 200 OK\r\nA: ${'b'.repeat(70_000)}\r\n\r\n`), 'ERR_PROXY_BAD_RESPONSE'],
]

for (const [what, handler, code] of beforeTheBody) {
  test(`${what} is a 502 (${code}) that tells nothing of the backend, and its connection is not used again`, async () => {
    await using backend = await mockBackend([handler, { body: 'fine' }])
    await using front = await runProxy({ target: backend.url, retry: false })
    const response = await fetch(front.url)
    assert.equal(response.status, 502)
    const text = await response.text()
    assert.equal(text, `502 Bad Gateway (${code})\n`)
    assert.doesNotMatch(text + JSON.stringify([...response.headers]), new RegExp(`127\\.0\\.0\\.1|${backend.port}`))
    const record = await front.nextRecord()
    assert.equal(record.status, 502)
    assert.equal(record.outcome, 'failed')
    assert.equal(record.errorCode, code)
    const [error] = front.errors
    assert.equal(error?.code, code)
    assert.equal(error?.side, 'backend')
    assert.equal(error?.phase, 'headers')
    assert.equal(error?.status, 502)
    assert.equal(error?.backend?.id, backend.url)
    assert.equal(await (await fetch(front.url)).text(), 'fine')
    assert.equal(backend.connections, 2)
    assert.equal(front.pending(), 0)
  })
}

const inTheBody: readonly [string, MockHandler][] = [
  ['a reset in a chunked body', resetMidBody],
  ['a FIN in a chunked body', cutMidBody],
  ['a reset in a body of known length', resetMidFixedBody],
  ['a body that is too short', shortBody],
  ['a bad chunk', badChunk],
]

for (const [what, handler] of inTheBody) {
  test(`${what} is seen as a cut by fetch, and its connection is not used again`, async () => {
    await using backend = await mockBackend([handler, { body: 'fine' }])
    await using front = await runProxy({ target: backend.url })
    await assert.rejects(async () => (await fetch(front.url)).text())
    const record = await front.nextRecord()
    assert.equal(record.outcome, 'truncated')
    assert.equal(record.attempts, 1)
    assert.equal(record.errorCode, 'ERR_PROXY_TRUNCATED')
    assert.equal(front.errors[0]?.side, 'backend')
    assert.equal(front.errors[0]?.phase, 'body')
    assert.equal(front.pending(), 0)
    assert.equal(await (await fetch(front.url)).text(), 'fine')
    assert.equal(backend.connections, 2)
  })

  test(`${what} leaves a client's connection closed without a last chunk`, async () => {
    await using backend = await mockBackend(handler)
    await using front = await runProxy({ target: backend.url })
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.ended
    assert.doesNotMatch(client.text, /\r\n0\r\n/)
  })

  test(`${what} is a reset, not a clean end, for an HTTP/1.0 client`, { skip: withoutCurl }, async () => {
    await using backend = await mockBackend(handler)
    await using front = await runProxy({ target: backend.url })
    // Not a client of node's: before node 24 it takes a reset that comes with the last bytes for an end.
    assert.match((await curl(['--http1.0', front.url])).stderr, /\(56\).*reset/)
  })

  test(`${what} is exit code 18 for curl`, { skip: withoutCurl }, async () => {
    await using backend = await mockBackend(handler)
    await using front = await runProxy({ target: backend.url })
    assert.equal((await curl([front.url])).code, 18)
  })
}

test('a reset in a body that ends with the connection is a cut', async () => {
  const goOn = gate()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head({ untilClose: true })
    reply.chunk('half')
    await goOn.promise
    reply.reset()
  })
  await using front = await runProxy({ target: backend.url })
  const response = await fetch(front.url)
  goOn.open()
  await assert.rejects(response.text())
  assert.equal((await front.nextRecord()).outcome, 'truncated')
})

test('a body that is too long is passed on up to its length, and the connection is not used again', async () => {
  await using backend = await mockBackend(longBody)
  await using front = await runProxy({ target: backend.url })
  for (let i = 0; i < 2; i++) assert.equal(await (await fetch(front.url)).text(), '0123456789')
  assert.equal(backend.connections, 2)
})

test('a backend that is not there is a 502 with ERR_PROXY_CONNECT', async () => {
  const { url } = await deadPort()
  await using front = await runProxy({ target: url, retry: false })
  const response = await fetch(front.url)
  assert.equal(response.status, 502)
  assert.equal(await response.text(), '502 Bad Gateway (ERR_PROXY_CONNECT)\n')
  assert.equal(front.errors[0]?.phase, 'connect')
  assert.match(String(front.errors[0]?.cause), /ECONNREFUSED/)
  assert.equal((await front.nextRecord()).outcome, 'failed')
})

test("a backend that resets while the client uploads is a 502, and the client's upload is not waited for", async () => {
  await using backend = await mockBackend(resetOnRequest)
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome of it')
  assert.match(await client.until('ERR_PROXY_RESET'), /^HTTP\/1\.1 502 [\s\S]*\r\nConnection: close\r\n/)
  await client.ended
  assert.equal(front.pending(), 0)
})

test('a cut reaches an HTTP/1.0 client on a unix socket, where there is no RST', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'heddle-'))
  const path = join(folder, 'front.sock')
  await using backend = await mockBackend(cutMidBody)
  {
    await using proxy = createProxy({ logger: 'silent', target: backend.url })
    await proxy.listen({ path })
    const ended = new Promise<string>((resolve) => proxy.on('finish', (_exchange, record) => resolve(record.outcome)))
    const client = rawClient(path)
    client.write('GET / HTTP/1.0\r\n\r\n')
    assert.equal(await ended, 'truncated')
    await client.ended
  }
  await rm(folder, { recursive: true })
})

test('a cut is no clean end of TLS for an HTTP/1.0 client of an https server', { skip: withoutCurl }, async () => {
  await using backend = await mockBackend(cutMidBody)
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    https.createServer({ cert: certificate, key }, proxy.web),
  )
  const { code, stderr } = await curl(['--http1.0', '--no-alpn', '--insecure', `https://127.0.0.1:${front.port}/`])
  assert.equal(code, 56, stderr)
  assert.equal((await front.nextRecord()).outcome, 'truncated')
})
