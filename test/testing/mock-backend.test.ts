import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  answerAfter,
  closeIdleInRace,
  cutMidBody,
  garbage,
  longBody,
  neverAnswer,
  resetMidBody,
  resetMidHead,
  resetOnRequest,
  shortBody,
} from '../../src/testing/misbehaviour.ts'
import { deadPort, type MockBackendOptions, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockRequest, MockScript } from '../../src/testing/mock-script.ts'

/** Everything that comes back for `bytes` until the connection ends, and how it ended. */
function converse(port: number, bytes: string): Promise<{ text: string; error: string | null }> {
  return new Promise((resolve) => {
    let text = ''
    let error: string | null = null
    net
      .connect(port, '127.0.0.1')
      .setEncoding('latin1')
      .on('data', (data) => {
        text += data
      })
      .on('error', (failure: NodeJS.ErrnoException) => {
        error = failure.code ?? ''
      })
      .on('close', () => resolve({ text, error }))
      .write(bytes, 'latin1')
  })
}

/** A raw connection that is read piece by piece. */
function dial(port: number): {
  socket: net.Socket
  until: (mark: string) => Promise<string>
  closed: Promise<unknown>
} {
  const socket = net
    .connect(port, '127.0.0.1')
    .setEncoding('latin1')
    .on('error', () => {})
  const closed = new Promise((resolve) => socket.once('close', resolve))
  let text = ''
  let check = (): void => {}
  socket.on('data', (data) => {
    text += data
    check()
  })
  function until(mark: string): Promise<string> {
    return new Promise((resolve) => {
      check = () => {
        const at = text.indexOf(mark)
        if (at < 0) return
        const found = text.slice(0, at + mark.length)
        text = text.slice(at + mark.length)
        check = () => {}
        resolve(found)
      }
      check()
    })
  }
  return { socket, until, closed }
}

/** Self-signed, of nobody, for `localhost` and 127.0.0.1; valid until 2126. */
const CERT = `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUaocEB8C6ePfoLpNt8qAZuifLHZAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzA1MDk0M1oYDzIxMjYxMDMw
MDUwOTQzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARj/V+Baw5NwhUSfWHAZ6t+oQYXiC1IffBXIrPlyXviVrMpwHVb1pgJ
ggDl9QcCavSxL4Q5GJAmnBmktp36z+gSo28wbTAdBgNVHQ4EFgQUhsipS+XQfrSy
REkFXnLwN6OBUa0wHwYDVR0jBBgwFoAUhsipS+XQfrSyREkFXnLwN6OBUa0wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhALyvMhaE9XRIJGf4bRMym9T6JKldnctuUBZh/KATJwARAiAs
3k/0zXJJJ59Oe7rhQ5aMvANtNAepA2JhwMebLu0yYw==
-----END CERTIFICATE-----`
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+Coc9TeZ3D4ryAQ6
2QpfuVMf5OXcv7kjKoscbtRXsYGhRANCAARj/V+Baw5NwhUSfWHAZ6t+oQYXiC1I
ffBXIrPlyXviVrMpwHVb1pgJggDl9QcCavSxL4Q5GJAmnBmktp36z+gS
-----END PRIVATE KEY-----`

const GET = 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n'
const GET_CLOSE = 'GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

test('the default script returns the request line and keeps the connection', async () => {
  await using backend = await mockBackend()
  const client = dial(backend.port)
  client.socket.write(GET)
  const first = await client.until('GET /x')
  assert.match(first, /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/plain\r\nContent-Length: 6\r\n\r\nGET \/x$/)
  client.socket.write('DELETE /y?z=1 HTTP/1.1\r\n\r\n')
  await client.until('DELETE /y?z=1')
  assert.equal(backend.connections, 1)
  assert.equal(backend.url, `http://127.0.0.1:${backend.port}`)
})

test('a request is recorded byte for byte', async () => {
  await using backend = await mockBackend()
  const head = 'POST /p HTTP/1.1\r\nhOsT: a\r\nX-Two: 1\r\nTransfer-Encoding: chunked\r\nx-two:  2 \r\n\r\n'
  const client = dial(backend.port)
  for (const byte of `${head}5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 9\r\n\r\n`) client.socket.write(byte)
  const request = await backend.nextRequest()
  assert.equal(request.rawHead, head)
  assert.deepEqual(request.headers, ['hOsT', 'a', 'X-Two', '1', 'Transfer-Encoding', 'chunked', 'x-two', '2'])
  assert.equal(request.header('X-TWO'), '1')
  assert.equal(request.bodyText, 'hello world')
  assert.equal(request.wireBytes.toString(), '5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 9\r\n\r\n')
  assert.deepEqual(request.trailers, ['X-Sum', '9'])
  assert.equal(request.isComplete, true)
  assert.deepEqual([request.method, request.path, request.version, request.connection], ['POST', '/p', '1.1', 1])
  assert.deepEqual(backend.faults, [])
})

test('a body cut off by its connection is incomplete and rejects body()', async () => {
  const { promise, reject } = deferredRejection()
  await using backend = await mockBackend(async (request) => {
    await request.body().catch(reject)
  })
  const client = dial(backend.port)
  client.socket.write('POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345')
  const request = await backend.nextRequestHead()
  client.socket.destroy()
  await assert.rejects(promise, /ended in the middle of the body of POST \//)
  assert.equal(request.isComplete, false)
  assert.equal(request.bodyText, '12345')
})

test('pipelined requests get the responses of a list; the last one stays', async () => {
  await using backend = await mockBackend([{ status: 201 }, { status: 202, body: 'b' }, { status: 203 }])
  const { text } = await converse(backend.port, GET + GET + GET + GET_CLOSE)
  assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 201', 'HTTP/1.1 202', 'HTTP/1.1 203', 'HTTP/1.1 203'])
})

test('bytes that are not a request are a fault and get 400', async () => {
  for (const bytes of [
    'GET  /two-spaces HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1\r\nno colon\r\n\r\n',
    'GET / HTTP/1.1\r\nspace : 1\r\n\r\n',
    'POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na',
    'POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n',
    'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n',
    'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n',
  ]) {
    await using backend = await mockBackend(neverAnswer)
    const { text } = await converse(backend.port, bytes)
    assert.match(text, /^HTTP\/1\.1 400 /, bytes)
    assert.equal(backend.faults.length, 1, bytes)
  }
})

test('a reply can be sent in pieces: 1xx, head, chunks, trailers', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.informational(103, { Link: ['</a>', '</b>'] })
    reply.head({ status: 207, reason: 'Fine', headers: ['X-Odd-Case', '1'] })
    reply.chunk('one')
    reply.chunk('')
    reply.chunk(Buffer.from('two'))
    reply.end(['X-Sum', '2'])
    reply.chunk('never seen')
  })
  const { text } = await converse(backend.port, GET_CLOSE)
  assert.equal(
    text,
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n' +
      'HTTP/1.1 207 Fine\r\nX-Odd-Case: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n' +
      '3\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 2\r\n\r\n',
  )
})

test('responses to HEAD, 204 and 304 have no body; HTTP/1.0 gets no chunks', async () => {
  await using backend = await mockBackend([{ body: 'body' }, { status: 204 }, { status: 304 }, { chunks: ['a', 'b'] }])
  const head = 'HEAD / HTTP/1.1\r\n\r\n'
  const { text } = await converse(backend.port, `${head}${GET}${GET}GET / HTTP/1.0\r\n\r\n`)
  assert.equal(
    text,
    'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n' +
      'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab',
  )
})

test('a static response waits for the body and sends 100 Continue', async () => {
  await using backend = await mockBackend({ body: 'got it' })
  const client = dial(backend.port)
  client.socket.write('PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n')
  await client.until('HTTP/1.1 100 Continue\r\n\r\n')
  client.socket.write('ab')
  await client.until('got it')
  assert.equal((await backend.nextRequest()).bodyText, 'ab')
})

const NODE_MAJOR = Number(process.versions.node.split('.', 1)[0])

test('each misbehaviour sends what its name says', async () => {
  const cases: [MockScript, RegExp, string | null][] = [
    [resetOnRequest, /^$/, 'ECONNRESET'],
    [resetMidHead, /Content-Ty$/, 'ECONNRESET'],
    [resetMidBody, /the first half\r\n$/, 'ECONNRESET'],
    [cutMidBody, /the first half\r\n$/, null],
    [garbage, /not HTTP\r\n\r\n$/, null],
    [shortBody, /Length: 100\r\n\r\n0123456789$/, null],
  ]
  for (const [script, expected, error] of cases) {
    await using backend = await mockBackend(script)
    const got = await converse(backend.port, GET)
    assert.match(got.text, expected)
    // Before node 24 a socket may report a reset that comes together with bytes as the end of the input.
    const isHidden = NODE_MAJOR < 24 && got.text !== '' && got.error === null
    if (!isHidden) assert.equal(got.error, error)
  }
  await using backend = await mockBackend(longBody)
  assert.match((await converse(backend.port, GET_CLOSE)).text, /Length: 10\r\n\r\n\d{100}$/)
})

test('closeIdleInRace closes a connection on its second request', async () => {
  for (const how of ['reset', 'fin'] as const) {
    await using backend = await mockBackend(closeIdleInRace(how))
    const client = dial(backend.port)
    client.socket.write(GET)
    await client.until('GET /x')
    client.socket.write(GET)
    await client.closed
    assert.equal(client.socket.bytesRead > 0 && backend.requests.length, 2)
    assert.match((await converse(backend.port, GET + GET)).text, /GET \/x$/)
  }
})

test('takeOver() lets the script read from the byte after the request', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.raw('HTTP/1.1 101 Switching Protocols\r\n\r\n')
    const socket = reply.takeOver()
    socket
      .on('data', (bytes) => socket.write(`<${bytes.toString()}>`))
      .on('end', () => socket.end('bye'))
      .resume()
  })
  const client = dial(backend.port)
  client.socket.write(`${GET}early`)
  await client.until('<early>')
  client.socket.end('late')
  await client.until('<late>bye')
  await client.closed
  assert.deepEqual(backend.faults, [])
  assert.equal(backend.requests.length, 1)
})

test('a connection can be broken before the first read', async () => {
  await using backend = await mockBackend(undefined, { onConnection: (socket) => socket.resetAndDestroy() })
  assert.deepEqual(await converse(backend.port, ''), { text: '', error: 'ECONNRESET' })
  await backend.untilOpenConnections(0)
  assert.equal(backend.connections, 1)
})

test('a script notices that its peer has disconnected', async () => {
  let seen: Promise<void> | null = null
  await using backend = await mockBackend((_request, reply) => {
    seen = reply.closed
  })
  const client = dial(backend.port)
  client.socket.write(GET)
  await backend.nextRequest()
  client.socket.destroy()
  await seen
  await backend.untilOpenConnections(0)
})

test('chunk() reports a full buffer and drained() waits for the reader', async () => {
  let written = 0
  const { promise: full, resolve } = deferred()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head({ untilClose: true })
    while (reply.chunk(Buffer.alloc(65536))) written += 65536
    written += 65536
    resolve()
    await reply.drained()
    reply.end()
  })
  const client = dial(backend.port)
  client.socket.pause().write(GET)
  await full
  client.socket.resume()
  const head = await client.until('\r\n\r\n')
  await client.closed
  assert.equal(client.socket.bytesRead, head.length + written)
})

test('a paused request is not read until it is resumed', async () => {
  await using backend = await mockBackend((request) => request.pause())
  const client = dial(backend.port)
  const size = 32 * 1024 * 1024
  client.socket.write(`POST / HTTP/1.1\r\nContent-Length: ${size}\r\n\r\n`)
  const request = await backend.nextRequestHead()
  const flushed = new Promise((resolve) => client.socket.write(Buffer.alloc(size), resolve))
  let isFlushed = false
  void flushed.then(() => {
    isFlushed = true
  })
  backend.use({ body: 'pong' })
  for (let i = 0; i < 50; i++) await converse(backend.port, GET_CLOSE)
  assert.deepEqual([request.isComplete, isFlushed], [false, false])
  request.resume()
  await flushed
  assert.equal((await request.body()).length, size)
})

test('closeIdle() ends idle connections and leaves busy ones', async () => {
  await using backend = await mockBackend([{ body: 'done' }, neverAnswer])
  const idle = dial(backend.port)
  idle.socket.write(GET)
  await idle.until('done')
  const busy = dial(backend.port)
  busy.socket.write(GET)
  await backend.nextRequest()
  await backend.nextRequest()
  backend.closeIdle()
  await idle.closed
  await backend.untilOpenConnections(1)
  assert.equal(busy.socket.destroyed, false)
})

test('restart() listens on the same port after stop()', async () => {
  await using backend = await mockBackend()
  const client = dial(backend.port)
  client.socket.write(GET)
  await client.until('GET /x')
  await backend.stop()
  await client.closed
  assert.equal((await converse(backend.port, GET)).error, 'ECONNREFUSED')
  await backend.restart()
  assert.match((await converse(backend.port, GET_CLOSE)).text, /GET \/x$/)
})

test('a script that throws closes its connection, and close() rejects', async () => {
  for (const script of [
    () => {
      throw new Error('script bug')
    },
    async () => {
      throw new Error('script bug')
    },
  ]) {
    const backend = await mockBackend(script)
    assert.equal((await converse(backend.port, GET)).text, '')
    await assert.rejects(backend.close(), /script bug/)
    await backend.close()
  }
})

test('a client that disconnects within its body is not a script error', async () => {
  for (const script of [
    { body: 'never sent' },
    neverAnswer,
    async (request: MockRequest) => void (await request.body()),
  ]) {
    const backend = await mockBackend(script)
    const client = dial(backend.port)
    client.socket.write('POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345')
    await backend.nextRequestHead()
    client.socket.destroy()
    await backend.untilOpenConnections(0)
    await backend.close()
  }
})

test('nextRequest() of a closed backend rejects', async () => {
  const backend = await mockBackend()
  const pending = backend.nextRequest()
  await backend.close()
  await assert.rejects(pending, /closed/)
  await assert.rejects(backend.nextRequest(), /closed/)
})

test('it listens on a unix socket, where a reset is a close', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'heddle-'))
  t.after(() => rm(folder, { recursive: true }))
  const socketPath = join(folder, 'a b.sock')
  await using backend = await mockBackend([{ body: 'by file' }, resetOnRequest], { socketPath })
  assert.equal(backend.url, `http+unix://${folder}/a%20b.sock`)
  const get = (): Promise<string> =>
    new Promise((resolve, reject) => {
      http
        .get({ socketPath, agent: false }, (response) => response.setEncoding('utf8').on('data', resolve))
        .on('error', reject)
    })
  assert.equal(await get(), 'by file')
  await assert.rejects(get(), { code: 'ECONNRESET' })
})

test('it speaks TLS, where a reset is an RST of the TCP connection', async () => {
  await using backend = await mockBackend([{ body: 'in secret' }, resetMidBody], { tls: { key: KEY, cert: CERT } })
  assert.equal(backend.url, `https://127.0.0.1:${backend.port}`)
  const get = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const options = { ca: CERT, agent: false as const }
      https
        .get(backend.url, options, (response) => {
          response.toArray().then((chunks) => resolve(chunks.join('')), reject)
        })
        .on('error', reject)
    })
  assert.equal(await get(), 'in secret')
  await assert.rejects(get(), { code: 'ECONNRESET' })
  // A client that is no TLS client is neither a connection nor an accident.
  await converse(backend.port, GET)
  assert.equal(backend.connections, 2)
})

test('it is a conforming server for node:http', async () => {
  await using backend = await mockBackend({
    chunks: ['a', 'b'],
    trailers: { 'X-T': '1' },
    headers: { 'X-H': ['1', '2'] },
  })
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.request(`${backend.url}/p`, { method: 'POST', agent: false }, resolve).on('error', reject).end('body')
  })
  const body = (await response.toArray()).join('')
  assert.equal(body, 'ab')
  assert.equal(response.headers['x-h'], '1, 2')
  assert.equal(response.trailers['x-t'], '1')
  assert.equal((await backend.nextRequest()).bodyText, 'body')
})

test('answerAfter() waits for its gate', async () => {
  const { promise, resolve } = deferred()
  await using backend = await mockBackend(answerAfter(promise, { body: 'late' }))
  const client = dial(backend.port)
  client.socket.write(GET)
  await backend.nextRequest()
  assert.equal(client.socket.bytesRead, 0)
  resolve()
  await client.until('late')
})

test('a dead port refuses connections', async () => {
  const { port, url } = await deadPort()
  assert.equal(url, `http://127.0.0.1:${port}`)
  assert.equal((await converse(port, GET)).error, 'ECONNREFUSED')
})

test('a dead port is not one of those that the system gives to clients', async () => {
  // A client that gets the port to which it connects is connected, to itself.
  for (let i = 0; i < 20; i++) {
    const { port } = await deadPort()
    assert.ok(port >= 10_000 && port < 32_768, `${port}`)
  }
})

test('a port in use rejects', async () => {
  await using backend = await mockBackend()
  const options: MockBackendOptions = { port: backend.port }
  await assert.rejects(mockBackend({}, options), { code: 'EADDRINUSE' })
})

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}

function deferredRejection(): { promise: Promise<void>; reject: (error: unknown) => void } {
  let reject = (_error: unknown): void => {}
  const promise = new Promise<void>((_, settle) => {
    reject = settle
  })
  return { promise, reject }
}
