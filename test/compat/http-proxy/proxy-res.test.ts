import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { Transform, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { createGunzip, gzipSync } from 'node:zlib'
import type { ServerOptions } from '../../../src/compat/http-proxy/index.ts'
import { cutMidBody, type MockAnswer, mockBackend } from '../../../src/testing/index.ts'
import { converse, rawClient } from '../../support/raw-client.ts'
import { codeOf, nextEvent, type Served, served } from './serving.ts'

type Listener = (proxyRes: IncomingMessage, req: IncomingMessage, res: ServerResponse) => unknown

/** A server whose `proxyRes` listener is `listener`. */
async function listening(target: string, listener: Listener, options: ServerOptions = {}): Promise<Served> {
  const front = await served({ target, ...options })
  front.proxy.on('proxyRes', listener)
  return front
}

const answer = (reply: MockAnswer) => mockBackend((_request, mock) => mock.send(reply))

test('proxyRes: has the fields of a response of node', async () => {
  await using backend = await answer({
    status: 203,
    headers: ['X-A', '1', 'X-A', '2', 'Set-Cookie', 'a', 'Set-Cookie', 'b', 'ETag', '"1"', 'ETag', '"2"'],
    body: 'hello',
  })
  const front = await listening(backend.url, (proxyRes, req, res) => {
    assert.deepEqual([proxyRes.statusCode, proxyRes.statusMessage], [203, http.STATUS_CODES[203]])
    assert.deepEqual([proxyRes.headers['x-a'], proxyRes.headers['set-cookie']], ['1, 2', ['a', 'b']])
    assert.deepEqual([proxyRes.headers.etag, proxyRes.headers['content-length']], ['"1"', '5'])
    assert.deepEqual([proxyRes.httpVersion, proxyRes.httpVersionMajor, proxyRes.httpVersionMinor], ['1.1', 1, 1])
    assert.ok(proxyRes.rawHeaders.includes('Set-Cookie'))
    assert.deepEqual([proxyRes.complete, proxyRes.trailers], [false, {}])
    assert.deepEqual([req.url, res.headersSent], ['/', false])
  })
  await using _ = front
  assert.equal(await (await fetch(front.url)).text(), 'hello')
})

test('proxyRes: changes of status, reason and headers reach the client', async () => {
  await using backend = await answer({
    headers: ['X-Old', '1', 'X-Gone', '1', 'Set-Cookie', 'a', 'Set-Cookie', 'b', 'X-Kept', '1'],
    body: 'hello',
  })
  await using front = await listening(backend.url, (proxyRes, _req, res) => {
    proxyRes.statusCode = 418
    proxyRes.statusMessage = 'Short and stout'
    proxyRes.headers['x-old'] = 'new'
    delete proxyRes.headers['x-gone']
    proxyRes.headers['set-cookie']?.push('c')
    Object.assign(proxyRes.headers, { 'x-number': 5, 'X-Cased': 'd', connection: 'close' })
    res.setHeader('X-Res', 'e')
  })
  const { text: head } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(head, /^HTTP\/1.1 418 Short and stout\r\n/)
  for (const line of ['x-old: new', 'x-number: 5', 'X-Cased: d', 'X-Kept: 1', 'X-Res: e', 'Content-Length: 5']) {
    assert.ok(head.includes(`\r\n${line}\r\n`), line)
  }
  assert.doesNotMatch(head, /X-Gone|X-Old: 1/)
  assert.deepEqual(head.match(/set-cookie: ./gi), ['set-cookie: a', 'set-cookie: b', 'set-cookie: c'])
  assert.match(head, /\r\n\r\nhello$/)
})

test('proxyRes: the headers may be replaced whole', async () => {
  await using backend = await answer({ headers: ['X-A', '1', 'X-B', '2'], body: 'hello' })
  await using front = await listening(backend.url, (proxyRes) => {
    proxyRes.headers = { 'x-b': '3', 'content-length': '5' }
  })
  const response = await fetch(front.url)
  assert.deepEqual([response.headers.get('x-a'), response.headers.get('x-b')], [null, '3'])
})

test('proxyRes: another status alone gets its usual reason', async () => {
  await using backend = await answer({ reason: 'Fine', body: 'hello' })
  await using front = await listening(backend.url, (proxyRes, req) => {
    if (req.url === '/changed') proxyRes.statusCode = 404
  })
  assert.equal((await fetch(front.url)).statusText, 'Fine')
  assert.equal((await fetch(`${front.url}/changed`)).statusText, 'Not Found')
})

test('proxyRes: an invalid change is a failure, not a crash', async () => {
  await using backend = await answer({ body: 'hello' })
  await using front = await listening(backend.url, (proxyRes, req) => {
    if (req.url === '/status') proxyRes.statusCode = 42
    else proxyRes.headers['x-a'] = 'b\r\nc: d'
  })
  assert.equal((await fetch(`${front.url}/status`)).status, 500)
  assert.equal((await fetch(front.url)).status, 500)
})

test('proxyRes: a listener that throws fails its request; one that rejects is responded to if it has not begun', async () => {
  await using backend = await answer({ body: 'hello' })
  await using front = await listening(backend.url, (_proxyRes, req) => {
    if (req.url === '/throws') throw new Error('thrown')
    return Promise.reject(new Error('rejected'))
  })
  const errors: string[] = []
  front.proxy.on('error', (error, _req, res) => {
    errors.push(error.message)
    if ('writeHead' in res) res.writeHead(502).end()
  })
  assert.equal((await fetch(`${front.url}/throws`)).status, 502)
  assert.equal(await (await fetch(front.url)).text(), 'hello')
  assert.deepEqual(errors, ['thrown'])
  assert.ok(front.logger.messages('error').some((line) => line.includes("a listener of 'proxyRes' rejected")))
})

test('proxyRes: the body can be watched, and reaches the client as well', async () => {
  const body = 'x'.repeat(300_000)
  await using backend = await mockBackend((_request, reply) => {
    reply.head()
    for (let i = 0; i < body.length; i += 7000) reply.chunk(body.slice(i, i + 7000))
    reply.end(['X-Sum', '1'])
  })
  const seen: Promise<string>[] = []
  await using front = await listening(backend.url, (proxyRes) => {
    seen.push(text(proxyRes))
    proxyRes.once('end', () => assert.deepEqual([proxyRes.complete, proxyRes.trailers], [true, { 'x-sum': '1' }]))
  })
  for (let i = 0; i < 2; i++) assert.equal(await (await fetch(front.url)).text(), body)
  assert.deepEqual(await Promise.all(seen), [body, body])
})

test('proxyRes: listeners may come late, and see what comes after', async () => {
  let goOn: () => void = () => {}
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head()
    reply.chunk('first ')
    await new Promise<void>((resolve) => {
      goOn = resolve
    })
    reply.chunk('second')
    reply.end()
  })
  let response: IncomingMessage | undefined
  await using front = await listening(backend.url, (proxyRes) => {
    response = proxyRes
  })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('first ')
  const late = text(response as IncomingMessage)
  goOn()
  await client.until('second')
  assert.equal(await late, 'second')
  client.socket.destroy()
})

test('proxyRes: the end comes to those who listen to nothing else', async () => {
  await using backend = await answer({ body: 'hello' })
  let ended: Promise<unknown> | undefined
  await using front = await listening(backend.url, (proxyRes) => {
    ended = once(proxyRes, 'end')
  })
  await (await fetch(front.url)).text()
  await ended
})

const LARGE = 256 * 65_536

/** Sends {@link LARGE} bytes in pieces of `size`. `sent` are those of `/slow`. */
async function largeBackend(size: number) {
  let sent = 0
  const backend = await mockBackend(async ({ path }, reply) => {
    const piece = Buffer.alloc(size, 'x')
    reply.head()
    for (let all = 0; all < LARGE; all += size) {
      if (path === '/slow') sent = all
      if (!reply.chunk(piece.subarray(0, LARGE - all))) await reply.drained()
    }
    reply.end()
  })
  return { backend, sent: () => sent }
}

/** A second response of the same length passes whole: so could have done the first, if nothing had held it up. */
async function passOther({ url }: Served): Promise<void> {
  assert.equal((await (await fetch(`${url}/other`)).arrayBuffer()).byteLength, LARGE)
}

for (const size of [1_000, 65_536]) {
  test(`proxyRes: a slow watcher slows a response in pieces of ${size} bytes down`, async () => {
    const { backend } = await largeBackend(size)
    await using _ = backend
    let isOpen = false
    let open: () => void = () => {}
    let most = 0
    let seen = 0
    await using front = await listening(backend.url, (proxyRes, req) => {
      if (req.url !== '/slow') return
      proxyRes.pipe(
        new Writable({
          write(chunk: Buffer, _encoding, done) {
            seen += chunk.length
            most = Math.max(most, proxyRes.readableLength)
            if (isOpen) done()
            else open = done
          },
        }),
      )
    })
    const response = await fetch(`${front.url}/slow`)
    let received = 0
    const all = (async () => {
      for await (const chunk of response.body as ReadableStream<Uint8Array>) received += chunk.length
    })()
    // The client reads as much as comes, but the watcher has taken one piece.
    await passOther(front)
    assert.ok(received < LARGE / 2, `the client has had ${received} of ${LARGE}`)
    isOpen = true
    open()
    await all
    assert.deepEqual([received, seen], [LARGE, LARGE])
    assert.ok(most < 1024 * 1024, `${most} bytes were held for the watcher`)
  })
}

test('proxyRes: a slow client slows a response down that is watched', async () => {
  const { backend, sent } = await largeBackend(65_536)
  await using _ = backend
  await using front = await listening(backend.url, (proxyRes) => void proxyRes.on('data', () => {}))
  const response = await fetch(`${front.url}/slow`)
  await passOther(front)
  assert.ok(sent() < LARGE - 65_536, 'the target could send all of it')
  assert.equal((await response.arrayBuffer()).byteLength, LARGE)
})

test('proxyRes: a wrapped res.write rewrites the body, whose length is given up', async () => {
  await using backend = await answer({ headers: ['Content-Type', 'text/plain'], body: 'hello' })
  const watched: Promise<string>[] = []
  await using front = await listening(backend.url, (proxyRes, _req, res) => {
    delete proxyRes.headers['content-length']
    const { write, end } = res
    const shout = (chunk: unknown) => (chunk instanceof Uint8Array ? `${chunk.toString().toUpperCase()}!` : chunk)
    res.write = (chunk: unknown, ...rest: unknown[]) => Reflect.apply(write, res, [shout(chunk), ...rest])
    res.end = (chunk?: unknown, ...rest: unknown[]) => Reflect.apply(end, res, [shout(chunk), ...rest])
    // What the target has sent, and not what the client gets.
    watched.push(text(proxyRes))
  })
  const response = await fetch(front.url)
  assert.deepEqual([await response.text(), response.headers.get('content-length')], ['HELLO!', null])
  assert.deepEqual(await Promise.all(watched), ['hello'])
})

test('proxyRes: a listener may respond itself', async () => {
  await using backend = await answer({ body: 'hello' })
  await using front = await listening(backend.url, (_proxyRes, _req, res) => void res.writeHead(202).end('mine'))
  for (let i = 0; i < 2; i++) {
    const response = await fetch(front.url)
    assert.deepEqual([response.status, await response.text()], [202, 'mine'])
  }
})

test('proxyRes: a listener may write the head itself, and the body follows it', async () => {
  await using backend = await answer({ headers: ['X-A', '1'], body: 'hello' })
  await using front = await listening(backend.url, (_proxyRes, _req, res) => void res.writeHead(202, { 'X-Own': '1' }))
  for (let i = 0; i < 2; i++) {
    const response = await fetch(front.url)
    assert.deepEqual([response.status, await response.text()], [202, 'hello'])
    assert.deepEqual([response.headers.get('x-own'), response.headers.get('x-a')], ['1', null])
  }
})

test('proxyRes: without a body, too: HEAD, 204, 304', async () => {
  const statuses: (number | undefined)[] = []
  const ends: string[] = []
  await using backend = await mockBackend((request, reply) => {
    if (request.method === 'HEAD') reply.send({ headers: ['Content-Length', '5'] })
    else reply.send({ status: Number(request.path.slice(1)) })
  })
  await using front = await listening(backend.url, (proxyRes, req) => {
    statuses.push(proxyRes.statusCode)
    proxyRes.on('data', () => assert.fail('a body')).on('end', () => ends.push(req.method ?? ''))
    proxyRes.headers['x-seen'] = '1'
  })
  const head = await fetch(front.url, { method: 'HEAD' })
  assert.deepEqual([head.headers.get('content-length'), head.headers.get('x-seen')], ['5', '1'])
  for (const status of [204, 304]) assert.equal((await fetch(`${front.url}/${status}`)).status, status)
  assert.deepEqual(statuses, [200, 204, 304])
  assert.deepEqual(ends, ['HEAD', 'GET', 'GET'])
})

test('proxyRes: redirects and cookies are rewritten after the listeners', async () => {
  await using backend = await mockBackend((_request, reply) =>
    reply.send({
      status: 302,
      headers: ['Location', `http://127.0.0.1:${backend.port}/x`, 'Set-Cookie', 'a=1; Domain=old.com; Path=/old'],
    }),
  )
  await using front = await listening(
    backend.url,
    (proxyRes) => {
      proxyRes.headers['set-cookie'] = [...(proxyRes.headers['set-cookie'] ?? []), 'b=2; domain=old.com']
    },
    {
      autoRewrite: true,
      protocolRewrite: 'https',
      cookieDomainRewrite: 'new.com',
      cookiePathRewrite: { '/old': '/n' },
    },
  )
  const response = await fetch(front.url, { redirect: 'manual' })
  assert.equal(response.headers.get('location'), `https://127.0.0.1:${front.port}/x`)
  assert.deepEqual(response.headers.getSetCookie(), ['a=1; Domain=new.com; Path=/n', 'b=2; domain=new.com'])
  front.proxy.removeAllListeners('proxyRes')
  const plain = await fetch(front.url, { redirect: 'manual' })
  assert.deepEqual(plain.headers.getSetCookie(), ['a=1; Domain=new.com; Path=/n'])
})

test('proxyRes: a truncated response is seen by the client, the watcher and the error listeners', async () => {
  await using backend = await mockBackend(cutMidBody)
  const told: unknown[] = []
  await using front = await listening(backend.url, (proxyRes) => {
    proxyRes.on('data', () => {})
    proxyRes.on('aborted', () => told.push('aborted'))
    proxyRes.on('error', (error) => told.push(codeOf(error)))
    proxyRes.on('end', () => told.push('end'))
  })
  front.proxy.on('end', () => told.push('end of the proxy'))
  const failed = nextEvent(front.proxy, 'error')
  await assert.rejects((await fetch(front.url)).text())
  assert.equal(codeOf((await failed)[0] as Error), 'ECONNRESET')
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(told, ['aborted', 'ECONNRESET'])
})

test('proxyRes: a truncated response without any error listener truncates, and that is all', async () => {
  await using backend = await mockBackend(cutMidBody)
  await using front = await listening(backend.url, (proxyRes) => void proxyRes.on('data', () => {}))
  await assert.rejects((await fetch(front.url)).text())
})

test('end: comes when the response is complete, with the response', async () => {
  await using backend = await answer({ status: 201, body: 'hello' })
  await using front = await served({ target: backend.url })
  const ended = nextEvent(front.proxy, 'end')
  assert.equal(await (await fetch(front.url)).text(), 'hello')
  const [req, res, proxyRes] = (await ended) as [IncomingMessage, ServerResponse, IncomingMessage]
  assert.deepEqual([req.url, res.statusCode, proxyRes.statusCode], ['/', 201, 201])
})

test('selfHandleResponse: the listener responds, with a stream of what the target has sent', async () => {
  const body = 'hello '.repeat(20_000)
  await using backend = await answer({ headers: ['Content-Encoding', 'gzip', 'X-A', '1'], body: gzipSync(body) })
  const ends: number[] = []
  await using front = await listening(
    backend.url,
    (proxyRes, _req, res) => {
      assert.equal(proxyRes.headers['content-encoding'], 'gzip')
      const shout = new Transform({ transform: (chunk, _e, done) => done(null, String(chunk).toUpperCase()) })
      proxyRes.pipe(createGunzip()).pipe(shout).pipe(res.writeHead(202))
    },
    { selfHandleResponse: true },
  )
  front.proxy.on('end', () => ends.push(1))
  const response = await fetch(front.url)
  assert.deepEqual([response.status, response.headers.get('x-a')], [202, null])
  assert.equal(await response.text(), body.toUpperCase())
  assert.deepEqual(ends, [1])
})

test('selfHandleResponse: nothing limits how long the application takes', async () => {
  await using backend = await answer({ body: 'hello' })
  await using front = await listening(
    backend.url,
    async (proxyRes, _req, res) => {
      const body = await text(proxyRes)
      await new Promise((resolve) => setTimeout(resolve, 60))
      res.end(`after ${body}`)
    },
    { selfHandleResponse: true, proxyTimeout: 20 },
  )
  assert.equal(await (await fetch(front.url)).text(), 'after hello')
})

test('selfHandleResponse: a slow reader holds the target up', async () => {
  const { backend, sent } = await largeBackend(65_536)
  await using _ = backend
  const hash = createHash('sha1')
  await using front = await listening(
    backend.url,
    async (proxyRes, req, res) => {
      if (req.url !== '/slow') return void proxyRes.pipe(res)
      await passOther(front)
      res.setHeader('X-Sent', String(sent()))
      for await (const chunk of proxyRes) hash.update(chunk)
      res.end(hash.digest('hex'))
    },
    { selfHandleResponse: true },
  )
  const response = await fetch(`${front.url}/slow`)
  assert.ok(Number(response.headers.get('x-sent')) < LARGE - 65_536, 'the target could send all of it at once')
  assert.equal(await response.text(), createHash('sha1').update(Buffer.alloc(LARGE, 'x')).digest('hex'))
})

test('selfHandleResponse: an early response of the application ends the call', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.head()
    reply.chunk('x')
  })
  await using front = await listening(backend.url, (_proxyRes, _req, res) => void res.end('mine'), {
    selfHandleResponse: true,
  })
  const ended = nextEvent(front.proxy, 'end')
  assert.equal(await (await fetch(front.url)).text(), 'mine')
  await ended
  await backend.untilOpenConnections(0)
})

test('selfHandleResponse: a truncated response is told to the stream, and to the error listeners', async () => {
  await using backend = await mockBackend(cutMidBody)
  await using front = await listening(
    backend.url,
    (proxyRes) => void proxyRes.on('data', () => {}).on('error', () => {}),
    { selfHandleResponse: true },
  )
  front.proxy.on('error', (error, _req, res) => {
    if ('writeHead' in res) res.writeHead(502).end(codeOf(error))
  })
  const response = await fetch(front.url)
  assert.deepEqual([response.status, await response.text()], [502, 'ECONNRESET'])
})

test('selfHandleResponse: a listener that rejects leaves no client waiting', async () => {
  await using backend = await answer({ body: 'hello' })
  await using front = await listening(backend.url, () => Promise.reject(new Error('no')), { selfHandleResponse: true })
  assert.equal((await fetch(front.url)).status, 500)
})

test('selfHandleResponse: a client that leaves ends the stream', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.head()
    reply.chunk('x')
  })
  let closed: Promise<unknown> | undefined
  await using front = await listening(
    backend.url,
    (proxyRes, _req, res) => {
      closed = new Promise((resolve) => proxyRes.on('error', () => {}).once('close', resolve))
      proxyRes.pipe(res)
    },
    { selfHandleResponse: true },
  )
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('x')
  client.socket.destroy()
  await closed
  await backend.untilOpenConnections(0)
})

test('interim responses pass', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.informational(103, ['Link', '</a.css>; rel=preload'])
    reply.send({ body: 'hello' })
  })
  await using front = await listening(backend.url, () => {})
  const { text: all } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(all, /^HTTP\/1.1 103 [^\r]*\r\nLink: .*\r\n\r\nHTTP\/1.1 200 OK/)
})
