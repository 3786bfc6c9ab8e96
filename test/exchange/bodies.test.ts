import assert from 'node:assert/strict'
import http from 'node:http'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { request as undiciRequest } from 'undici'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { MIB, randomBytes, sha256 } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, listening, queue, rounds, runInServer, runProxy } from '../support/running-proxy.ts'

const big = randomBytes(10 * MIB)
const bigHash = sha256(big)

/** Sends `big` in pieces that fit nothing, as fast as it is taken. */
function sendBig(headers: Record<string, string>): MockHandler {
  return async (request, reply) => {
    await request.body()
    reply.head({ headers })
    for (let i = 0; i < big.length && !reply.isClosed; i += 100_001) {
      if (!reply.chunk(big.subarray(i, i + 100_001))) await reply.drained()
    }
    reply.end()
  }
}

for (const [how, run] of [
  ['http.createServer(proxy.web)', runInServer],
  ['proxy.listen()', runProxy],
] as const) {
  for (const [framing, headers] of [
    ['in chunks', {}],
    ['of known length', { 'Content-Length': String(big.length) }],
  ] as const) {
    test(`${how}: 10 MiB ${framing} come down byte by byte`, async () => {
      await using backend = await mockBackend(sendBig(headers))
      await using front = await run({ target: backend.url })
      const response = await fetch(front.url)
      assert.equal(response.headers.get('content-length'), 'Content-Length' in headers ? String(big.length) : null)
      assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), bigHash)
      const record = await front.nextRecord()
      assert.equal(record.responseBytes, big.length)
      assert.equal(record.outcome, 'answered')
    })

    test(`${how}: 10 MiB ${framing} go up byte by byte`, async () => {
      await using backend = await mockBackend()
      await using front = await run({ target: backend.url })
      const response = await undiciRequest(front.url, { method: 'POST', headers, body: Readable.from(pieces(big)) })
      await response.body.dump()
      assert.equal(response.statusCode, 200)
      const received = await backend.nextRequest()
      assert.equal(sha256(received.bodyBytes), bigHash)
      assert.equal(received.header('content-length'), 'Content-Length' in headers ? String(big.length) : undefined)
      assert.equal(received.header('transfer-encoding'), 'Content-Length' in headers ? undefined : 'chunked')
      assert.equal((await front.nextRecord()).requestBytes, big.length)
    })
  }
}

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let i = 0; i < bytes.length; i += 99_991) yield bytes.subarray(i, i + 99_991)
}

test('an echo goes both ways at the same time', async () => {
  const backend = http.createServer((req, res) => {
    res.flushHeaders()
    req.pipe(res)
  })
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  const { port } = backend.address() as { port: number }
  await using front = await runProxy({ target: `http://127.0.0.1:${port}` })
  const client = http.request(front.url, { method: 'POST' })
  client.flushHeaders()
  const response = await new Promise<http.IncomingMessage>((resolve) => client.on('response', resolve))
  const heard = queue<string>()
  response.setEncoding('utf8').on('data', heard.push)
  for (const word of ['one', 'two', 'three']) {
    client.write(word)
    assert.equal(await heard.next(), word)
  }
  client.end()
  await new Promise((resolve) => response.on('end', resolve))
  backend.close()
})

test('10 MiB are echoed byte by byte', async () => {
  const backend = http.createServer((req, res) => req.pipe(res))
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  const { port } = backend.address() as { port: number }
  await using front = await runProxy({ target: `http://127.0.0.1:${port}` })
  const response = await undiciRequest(front.url, { method: 'POST', body: Readable.from(pieces(big)) })
  assert.equal(sha256(new Uint8Array(await response.body.arrayBuffer())), bigHash)
  backend.close()
  backend.closeAllConnections()
})

for (const [framing, headers] of [
  ['in chunks', [] as string[]],
  ['of known length', ['Content-Length', String(64 * MIB)]],
] as const) {
  test(`a client that does not read stops the backend, and gets all of a body ${framing} when it does`, async () => {
    const piece = Buffer.alloc(64 * 1024, 'x')
    const total = 64 * MIB
    const stuck = gate<number>()
    let sent = 0
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers })
      while (sent < total) {
        sent += piece.length
        if (reply.chunk(piece)) continue
        const drained = reply.drained()
        // What stays full while the event loop turns and turns is stopped, not slow.
        const isStuck = await Promise.race([drained.then(() => false), rounds(300).then(() => true)])
        if (isStuck) stuck.open(sent)
        await drained
      }
      reply.end()
    })
    await using front = await runProxy({ target: backend.url })
    const client = rawClient(front.port)
    client.socket.pause()
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    const sentWhileStuck = await stuck.promise
    // What is not in the kernel's buffers (4 of them) must not be in ours.
    assert.ok(sentWhileStuck < 32 * MIB, `${sentWhileStuck} bytes were sent`)
    let received = 0
    client.socket.removeAllListeners('data').on('data', (bytes) => {
      received += bytes.length
    })
    client.socket.resume()
    await client.ended
    assert.ok(received > total)
    const record = await front.nextRecord()
    assert.equal(record.outcome, 'answered')
    assert.equal(record.responseBytes, total)
  })

  test(`a backend that does not read stops the client, and gets all of a body ${framing} when it does`, async () => {
    const goOn = gate()
    await using backend = await mockBackend(async (request, reply) => {
      request.pause()
      await goOn.promise
      request.resume()
      const body = await request.body()
      reply.send({ body: `${body.length}` })
    })
    await using front = await runProxy({ target: backend.url })
    const total = 32 * MIB
    const client = http.request(front.url, {
      method: 'POST',
      headers: headers.length > 0 ? { 'Content-Length': total } : {},
    })
    const answered = new Promise<http.IncomingMessage>((resolve) => client.on('response', resolve))
    const piece = Buffer.alloc(64 * 1024, 'x')
    let sent = 0
    let isStopped = false
    while (sent < total) {
      sent += piece.length
      if (client.write(piece)) continue
      const drained = new Promise<void>((resolve) => client.once('drain', resolve))
      if (!isStopped && (await Promise.race([drained.then(() => false), rounds(300).then(() => true)]))) {
        isStopped = true
        assert.ok(sent < 24 * MIB, `${sent} bytes were taken`)
        goOn.open()
      }
      await drained
    }
    client.end()
    assert.ok(isStopped)
    const response = await answered
    let text = ''
    for await (const chunk of response) text += chunk
    assert.equal(text, String(total))
  })
}

test('trailers come down', async () => {
  await using backend = await mockBackend({
    headers: ['Trailer', 'X-Sum'],
    chunks: ['a', 'b'],
    trailers: ['X-Sum', '42', 'X-Also', 'yes'],
  })
  await using front = await runProxy({ target: backend.url })
  const response = await new Promise<http.IncomingMessage>((resolve) => http.get(front.url, resolve))
  for await (const _ of response);
  assert.equal(response.headers.trailer, 'X-Sum')
  assert.deepEqual(response.rawTrailers, ['X-Sum', '42', 'X-Also', 'yes'])
})

test('trailers go up', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  const client = http.request(front.url, {
    method: 'POST',
    headers: { Trailer: 'X-Sum', 'Transfer-Encoding': 'chunked' },
  })
  client.write('body')
  client.addTrailers({ 'X-Sum': '42' })
  client.end()
  const response = await new Promise<http.IncomingMessage>((resolve) => client.on('response', resolve))
  response.resume()
  const received = await backend.nextRequest()
  assert.equal(received.header('trailer'), 'X-Sum')
  assert.deepEqual(received.trailers, ['X-Sum', '42'])
})

test('an HTTP/1.0 client gets a response with trailers without them', async () => {
  await using backend = await mockBackend({
    headers: ['Trailer', 'X-Sum'],
    chunks: ['a', 'b'],
    trailers: ['X-Sum', '42'],
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.0\r\n\r\n')
  assert.equal(await client.ended, 'end')
  assert.match(client.text, /\r\n\r\nab$/)
  assert.doesNotMatch(client.text, /trailer|transfer-encoding/i)
})

test('an event of an EventSource stream arrives before the next one is sent', async () => {
  const next = queue<string>()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head({ headers: ['Content-Type', 'text/event-stream'] })
    for (;;) {
      const event = await next.next()
      if (event === '') break
      reply.chunk(`data: ${event}\n\n`)
    }
    reply.end()
  })
  await using front = await runProxy({ target: backend.url })
  const response = await fetch(front.url)
  assert.equal(response.headers.get('content-type'), 'text/event-stream')
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  for (const event of ['one', 'two', 'three']) {
    next.push(event)
    assert.deepEqual(await reader?.read(), { done: false, value: `data: ${event}\n\n` })
  }
  next.push('')
  assert.deepEqual(await reader?.read(), { done: true, value: undefined })
})

for (const [framing, headers] of [
  ['in chunks', [] as string[]],
  ['of known length', ['Content-Length', '4']],
  ['to the end of the connection', ['Connection', 'close']],
] as const) {
  test(`the head of a response ${framing} is passed on before its first body byte`, async () => {
    const goOn = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers, untilClose: framing.startsWith('to') })
      await goOn.promise
      reply.chunk('body')
      reply.end()
    })
    await using front = await runProxy({ target: backend.url })
    const response = await fetch(front.url)
    assert.equal(response.status, 200)
    goOn.open()
    assert.equal(await response.text(), 'body')
  })
}

test('a piece of a body of known length is passed on before the next one is sent', async () => {
  const goOn = gate()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head({ headers: ['Content-Length', '8'] })
    reply.chunk('half')
    await goOn.promise
    reply.chunk('more')
    reply.end()
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('half')
  goOn.open()
  await client.until('halfmore')
  client.socket.destroy()
})

test('a body that ends with the connection arrives whole, and its end is seen', async () => {
  await using backend = await mockBackend({ untilClose: true, body: big.subarray(0, MIB) })
  await using front = await runProxy({ target: backend.url })
  const response = await fetch(front.url)
  assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), sha256(big.subarray(0, MIB)))
  assert.equal((await front.nextRecord()).outcome, 'answered')
})

test('a response that comes while the client still uploads is passed on at once', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.send({ status: 413, headers: ['Connection', 'close'], body: 'too much' })
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome of it')
  const text = await client.until('too much')
  assert.match(text, /^HTTP\/1\.1 413 /)
  assert.match(text, /\r\nConnection: close\r\n/i)
  await client.ended
  const record = await front.nextRecord()
  assert.equal(record.status, 413)
  assert.equal(record.outcome, 'answered')
  assert.equal(front.pending(), 0)
})

test('a client that goes on to upload 10 MiB reads the early response all the same', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.send({ status: 413, headers: ['Connection', 'close'], body: 'too much' })
  })
  await using front = await runProxy({ target: backend.url })
  for (let i = 0; i < 5; i++) {
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const client = http.request(front.url, { method: 'POST', agent: false }, resolve)
      client.on('error', reject)
      client.end(big)
    })
    assert.equal(response.statusCode, 413)
    let text = ''
    for await (const chunk of response) text += chunk
    assert.equal(text, 'too much')
  }
})

test('after an early answer to a small upload the connection serves the next request', async () => {
  await using backend = await mockBackend((_request, reply) => reply.send({ body: 'early' }))
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf')
  await client.until('early')
  client.write('moreGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await client.ended
  assert.equal(client.text.match(/early/g)?.length, 2)
  assert.equal(backend.faults.length, 0)
})

test('an early response is not lost where its backend closes without reading the upload', async () => {
  // What node does: the unread upload makes the close a reset, and our next write fails before we have read the answer.
  const backend = http.createServer((_req, res) => {
    res.writeHead(413, { Connection: 'close' })
    res.end('too much')
  })
  const port = await listening(backend)
  await using front = await runProxy({ target: `http://127.0.0.1:${port}` })
  for (let i = 0; i < 10; i++) {
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const client = http.request(front.url, { method: 'POST', agent: false }, resolve)
      client.on('error', reject)
      client.end(big)
    })
    assert.equal(response.statusCode, 413)
    let text = ''
    for await (const chunk of response) text += chunk
    assert.equal(text, 'too much')
    assert.equal((await front.nextRecord()).outcome, 'answered')
  }
  assert.equal(front.pending(), 0)
  backend.close()
  backend.closeAllConnections()
})
