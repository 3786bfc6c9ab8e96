import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { gate, rounds, runInServer, runProxy } from '../support/running-proxy.ts'

test('103 Early Hints are passed on before the answer is there', async () => {
  const goOn = gate()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.informational(103, ['Link', '</a.css>; rel=preload'])
    reply.informational(103, ['Link', '</b.css>; rel=preload', 'Connection', 'keep-alive'])
    await goOn.promise
    reply.send({ body: 'done' })
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const early = await client.until('b.css>; rel=preload\r\n\r\n')
  assert.equal(
    early,
    'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n',
  )
  goOn.open()
  assert.match(await client.until('done'), /HTTP\/1\.1 200 OK/)
  client.socket.destroy()
})

test('an HTTP/1.0 client is spared interim responses', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.informational(103, ['Link', '</a.css>'])
    reply.send({ body: 'done' })
  })
  await using front = await runProxy({ target: backend.url })
  const { text } = await converse(front.port, 'GET / HTTP/1.0\r\n\r\n')
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n/)
})

test('a client that waits for 100 sees it when the backend says so, not before', async () => {
  const goOn = gate()
  await using backend = await mockBackend(async (request, reply) => {
    await goOn.promise
    reply.continue()
    reply.send({ body: `got ${await request.body()}` })
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n')
  const head = await backend.nextRequestHead()
  assert.equal(head.header('expect'), '100-continue')
  await rounds()
  assert.equal(client.text, '')
  goOn.open()
  assert.equal(await client.until('\r\n\r\n'), 'HTTP/1.1 100 Continue\r\n\r\n')
  client.write('body')
  await client.until('got body')
  client.socket.destroy()
})

for (const status of [417, 401]) {
  test(`a backend refuses a body with ${status} before it is sent`, async () => {
    await using backend = await mockBackend((_request, reply) => reply.send({ status, body: 'no' }))
    await using front = await runProxy({ target: backend.url })
    const client = rawClient(front.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n')
    assert.match(await client.until('\r\n\r\nno'), new RegExp(`^HTTP/1\\.1 ${status} `))
    assert.doesNotMatch(client.text, /100 Continue/)
    assert.equal((await backend.nextRequestHead()).bodyBytes.length, 0)
    const record = await front.nextRecord()
    assert.equal(record.outcome, 'answered')
    assert.equal(record.requestBytes, 0)
    await client.ended
  })
}

test('a backend that never says 100 gets the body after a second', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: `got ${await request.body()}` }))
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n')
  assert.equal(await client.until('\r\n\r\n'), 'HTTP/1.1 100 Continue\r\n\r\n')
  client.write('body')
  await client.until('got body')
  client.socket.destroy()
})

test('a plain http.createServer(proxy.web) answers Expect itself, and the body arrives', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: `got ${await request.body()}` }))
  await using front = await runInServer({ target: backend.url })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n')
  await client.until('100 Continue\r\n\r\n')
  client.write('body')
  await client.until('got body')
  assert.equal(client.text.match(/100 Continue/g)?.length, 1)
  client.socket.destroy()
})

test('a 100 that nobody waits for is not passed on', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.continue()
    reply.send({ body: 'done' })
  })
  await using front = await runProxy({ target: backend.url })
  const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(text, /^HTTP\/1\.1 200 OK/)
})

for (const [what, method, answer] of [
  ['HEAD with Content-Length', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n'],
  ['HEAD without Content-Length', 'HEAD', 'HTTP/1.1 200 OK\r\n\r\n'],
  ['HEAD with chunks', 'HEAD', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
  ['204 with Content-Length', 'GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n'],
  ['304', 'GET', 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'],
  ['304 with Content-Length', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n'],
] as const) {
  test(`${what} has no body, and the connections on both sides live on`, async () => {
    await using backend = await mockBackend((_request, reply) => {
      reply.raw(answer)
      reply.end()
    })
    const clock = manualClock()
    await using front = await runProxy({ target: backend.url, clock })
    const client = rawClient(front.port)
    for (let i = 0; i < 2; i++) {
      client.write(`${method} /${i} HTTP/1.1\r\nHost: a\r\n\r\n`)
      await front.nextRecord()
      // A body that is not to be might still come: the backend's connection is not used at once.
      clock.advance(100)
    }
    client.write(`${method} /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    await client.ended
    const heads = client.text.split('\r\n\r\n')
    assert.equal(heads.length, 4)
    assert.equal(heads[3], '')
    for (const head of heads.slice(0, 3)) {
      assert.match(head, /^HTTP\/1\.1 (200|204|304) /)
      assert.doesNotMatch(head, /transfer-encoding/i)
      const kept = answer.includes('1234') ? '1234' : null
      assert.equal(/content-length: (.*)/i.exec(head)?.[1] ?? null, kept)
    }
    assert.equal(backend.connections, 1)
  })
}

test('an HTTP/1.0 client gets a chunked body as plain bytes up to a clean end', async () => {
  await using backend = await mockBackend({ chunks: ['one', 'two'] })
  await using front = await runProxy({ target: backend.url })
  const { text, ending } = await converse(front.port, 'GET / HTTP/1.0\r\n\r\n')
  assert.equal(ending, 'end')
  assert.match(text, /\r\n\r\nonetwo$/)
  assert.doesNotMatch(text, /transfer-encoding/i)
})

test('pipelined requests are answered in their order, however long a backend takes', async () => {
  await using backend = await mockBackend(async (request, reply) => {
    if (request.path === '/1') await rounds()
    reply.send({ chunks: [`<${request.path}>`, 'x'.repeat(50_000), '<end>'] })
  })
  await using front = await runInServer({ target: backend.url })
  const client = rawClient(front.port)
  client.write(
    ['/1', '/2', '/3']
      .map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n${path === '/3' ? 'Connection: close\r\n' : ''}\r\n`)
      .join(''),
  )
  await client.ended
  assert.deepEqual(client.text.match(/<\/\d>/g), ['</1>', '</2>', '</3>'])
  assert.equal(client.text.match(/<end>/g)?.length, 3)
})

test('pipelined POSTs with bodies reach the backend whole', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: `<${await request.body()}>` }))
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write(
    'POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\noneGET /2 HTTP/1.1\r\nHost: a\r\n\r\n' +
      'POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nthree\r\n0\r\n\r\n',
  )
  await client.ended
  assert.deepEqual(client.text.match(/<.*?>/g), ['<one>', '<>', '<three>'])
})

test('headers of a response keep their order, case and duplicates', async () => {
  const sent = ['X-B', '1', 'Set-Cookie', 'a=1', 'x-a', '2', 'Set-Cookie', 'b=2', 'X-b', '3', 'Date', 'then']
  await using backend = await mockBackend({ headers: sent, body: 'x' })
  await using front = await runProxy({ target: backend.url })
  const response = await new Promise<http.IncomingMessage>((resolve) => http.get(front.url, resolve))
  response.resume()
  assert.deepEqual(response.rawHeaders.slice(0, sent.length), sent)
})

test('headers of a request keep their order, case and duplicates', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, xfwd: false })
  await converse(
    front.port,
    'GET /p?q=%20 HTTP/1.1\r\nX-B: 1\r\nhOsT: a.example\r\nx-a: 2\r\nX-b: 3\r\nCookie: a=1\r\nCookie: b=2\r\nConnection: close\r\n\r\n',
  )
  const { rawHead } = await backend.nextRequest()
  assert.equal(
    rawHead,
    'GET /p?q=%20 HTTP/1.1\r\nX-B: 1\r\nhOsT: a.example\r\nx-a: 2\r\nX-b: 3\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n',
  )
})

for (const [when, answer] of [
  ['with a small body', { body: 'x' }],
  ['with a large body', { body: 'x'.repeat(100_000) }],
  ['with chunks', { chunks: ['x', 'y'] }],
  ['with trailers', { chunks: ['x'], trailers: ['X-Also', 'caf\xe9 \xff'] }],
  ['without a body', { status: 204 }],
] as const) {
  test(`bytes over 0x7f in headers go through as they are, ${when}`, async () => {
    const value = 'caf\xe9 \x80\xff'
    await using backend = await mockBackend((_request, reply) => {
      // The mock writes heads as latin1.
      reply.send({ ...answer, headers: ['X-Raw', value] })
    })
    await using front = await runProxy({ target: backend.url })
    const { text } = await converse(
      front.port,
      `GET / HTTP/1.1\r\nHost: a\r\nX-Sent: ${value}\r\nTE: trailers\r\nConnection: close\r\n\r\n`,
    )
    assert.ok(text.includes(`\r\nX-Raw: ${value}\r\n`), text.slice(0, 300))
    assert.ok((await backend.nextRequest()).rawHead.includes(`\r\nX-Sent: ${value}\r\n`))
    if ('trailers' in answer) assert.ok(text.includes(`X-Also: ${answer.trailers[1]}\r\n`))
  })
}

test('bytes over 0x7f in headers go through as they are, where the head comes before the body', async () => {
  const goOn = gate()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head({ headers: ['X-Raw', 'caf\xe9'] })
    await goOn.promise
    reply.chunk('body')
    reply.end()
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const text = await client.until('\r\n\r\n')
  goOn.open()
  assert.ok(text.includes('X-Raw: caf\xe9\r\n'), text)
  await client.until('body')
  client.socket.destroy()
})

test('the reason phrase of a response is passed on', async () => {
  await using backend = await mockBackend({ status: 404, reason: 'Nothing Here', body: '' })
  await using front = await runProxy({ target: backend.url })
  const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(text, /^HTTP\/1\.1 404 Nothing Here\r\n/)
})
