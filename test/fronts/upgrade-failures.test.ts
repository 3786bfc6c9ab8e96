import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { describe, test } from 'node:test'
import WebSocket from 'ws'
import { manualClock } from '../../src/testing/manual-clock.ts'
import * as misbehaviour from '../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockScript } from '../../src/testing/mock-script.ts'
import { MIB, randomBytes } from '../support/bytes.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { gate, rounds, runInServer, runProxy } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest, webSocketBackend } from '../support/upgrade-backends.ts'

const ask = upgradeRequest({ protocol: 'websocket' })

describe('a failed upgrade gets a real answer', () => {
  test('backend down: 502 with a body and Connection: close', async () => {
    const { url } = await deadPort()
    await using running = await runProxy({ target: url })
    const { text, ending } = await converse(running.port, ask)
    assert.equal(ending, 'end')
    assert.match(text, /^HTTP\/1\.1 502 Bad Gateway\r\n/)
    assert.match(text, /\r\nConnection: close\r\n/)
    assert.match(text, /\r\n\r\n502 Bad Gateway \(ERR_PROXY_CONNECT\)\n$/)
    const record = await running.nextRecord()
    assert.equal(record.outcome, 'failed')
    assert.equal(record.status, 502)
    assert.equal(running.pending(), 0)
  })

  test('backend down, another alive: the WebSocket works there', async () => {
    const { url } = await deadPort()
    await using backend = await webSocketBackend()
    await using running = await runProxy({ backends: [url, backend.url], balancer: 'first-available' })
    const socket = new WebSocket(running.url.replace('http', 'ws'))
    await once(socket, 'open')
    socket.send('hello')
    assert.equal(String((await once(socket, 'message'))[0]), 'hello')
    socket.terminate()
    const record = await running.nextRecord()
    assert.equal(record.attempts, 2)
    assert.equal(record.outcome, 'upgraded')
  })

  test('a client that has sent on is read to its end, so that it can have the answer', async () => {
    const { url } = await deadPort()
    // The time after which it would be cut off stands still.
    await using running = await runProxy({ target: url, retry: false, clock: manualClock() })
    const { text, ending } = await converse(running.port, ask + 'x'.repeat(8 * MIB))
    assert.match(text, /ERR_PROXY_CONNECT/)
    assert.equal(ending, 'end')
  })

  test('many retries leave no listener behind, and warn of none', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    process.on('warning', onWarning)
    const { url } = await deadPort()
    const counts: Record<string, number>[] = []
    await using running = await runInServer(
      {
        target: url,
        healthCheck: false,
        retry: { name: 'always', next: ({ attempts }) => (attempts < 30 ? 0 : -1) },
      },
      (proxy) =>
        http.createServer().on('upgrade', (req, socket, head) => {
          proxy.on('attempt', () => {
            counts.push({ close: socket.listenerCount('close'), error: socket.listenerCount('error') })
          })
          proxy.ws(req, socket, head)
        }),
    )
    await converse(running.port, ask)
    assert.equal((await running.nextRecord()).attempts, 30)
    await rounds()
    process.off('warning', onWarning)
    assert.equal(counts.length, 30)
    assert.deepEqual(counts[29], counts[0])
    assert.deepEqual(warnings, [])
  })

  test('no route: 404', async () => {
    await using backend = await webSocketBackend()
    await using running = await runProxy({ target: backend.url, routes: [{ path: '/chat' }] })
    assert.match((await converse(running.port, ask)).text, /^HTTP\/1\.1 404 [\s\S]*ERR_PROXY_NO_ROUTE/)
    const record = await running.nextRecord()
    assert.equal(record.outcome, 'local')
    assert.equal(backend.connections, 0)
  })

  test('none available: 503 with Retry-After', async () => {
    await using backend = await webSocketBackend()
    await using running = await runProxy({ backends: [{ url: backend.url, weight: 0 }] })
    const { text } = await converse(running.port, ask)
    assert.match(text, /^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n[\s\S]*ERR_PROXY_NO_BACKEND/)
  })

  test('a connection that does not come about in time: 504', async () => {
    // A TLS handshake that the server never takes part in.
    await using silent = await rawBackend()
    await using running = await runProxy({
      target: silent.url.replace('http', 'https'),
      timeouts: { connect: 1 },
      retry: false,
    })
    const { text } = await converse(running.port, ask)
    assert.match(text, /^HTTP\/1\.1 504 [\s\S]*ERR_PROXY_CONNECT_TIMEOUT/)
    await silent.untilOpen(0)
  })

  test('a backend that never answers: 504, and its connection is let go', async () => {
    await using silent = await rawBackend()
    await using running = await runProxy({ target: silent.url, timeouts: { headers: 1 }, retry: false })
    const { text } = await converse(running.port, ask)
    assert.match(text, /^HTTP\/1\.1 504 [\s\S]*ERR_PROXY_HEADERS_TIMEOUT/)
    await silent.untilOpen(0)
    assert.equal(running.pending(), 0)
  })

  test('the limit on the whole exchange: 504', async () => {
    await using silent = await rawBackend()
    await using running = await runProxy({ target: silent.url, timeouts: { total: 1 } })
    assert.match((await converse(running.port, ask)).text, /^HTTP\/1\.1 504 [\s\S]*ERR_PROXY_TOTAL_TIMEOUT/)
    assert.equal((await running.nextRecord()).attempts, 1)
  })

  for (const [name, code, how] of [
    ['resetOnRequest', 'ERR_PROXY_RESET', misbehaviour.resetOnRequest],
    ['cutOnRequest', 'ERR_PROXY_RESET', misbehaviour.cutOnRequest],
    ['resetMidHead', 'ERR_PROXY_RESET', misbehaviour.resetMidHead],
    ['cutMidHead', '', misbehaviour.cutMidHead],
    ['garbage', 'ERR_PROXY_BAD_RESPONSE', misbehaviour.garbage],
    ['twoFramings', 'ERR_PROXY_BAD_RESPONSE', misbehaviour.twoFramings],
  ] as const) {
    test(`${name}: 502`, async () => {
      await using backend = await mockBackend(how)
      await using running = await runProxy({ target: backend.url, retry: false })
      const { text, ending } = await converse(running.port, ask)
      assert.match(text, /^HTTP\/1\.1 502 /)
      assert.ok(text.includes(code))
      assert.equal(ending, 'end')
      await backend.untilOpenConnections(0)
    })
  }

  for (const [name, target] of Object.entries({
    relative: 'x',
    authority: 'example.test:80',
    star: '*',
    scheme: 'ftp://x/',
  })) {
    test(`a malformed target (${name}): 400`, async () => {
      await using backend = await webSocketBackend()
      await using running = await runProxy({ target: backend.url })
      const { text } = await converse(running.port, upgradeRequest({ path: target }))
      assert.match(text, /^HTTP\/1\.1 400 /)
      assert.equal(backend.connections, 0)
    })
  }

  test('a transform or a balancer that throws: 500', async () => {
    await using backend = await webSocketBackend()
    const broken = {
      name: 'broken',
      request() {
        throw new Error('broken')
      },
    }
    const balancer = {
      name: 'broken',
      pick() {
        throw new Error('broken')
      },
    }
    for (const options of [{ routes: [{ transforms: [broken] }] }, { balancer }]) {
      await using running = await runProxy({ backends: [backend.url, { url: backend.url, id: 'two' }], ...options })
      assert.match((await converse(running.port, ask)).text, /^HTTP\/1\.1 500 [\s\S]*ERR_PROXY_HOOK/)
      assert.equal(running.pending(), 0)
    }
  })
})

describe('an upgrade with a body is refused, whenever its body comes', () => {
  for (const [name, extra, body] of [
    ['Content-Length', 'Content-Length: 5\r\n', 'hello'],
    ['Transfer-Encoding', 'Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ] as const) {
    const head = upgradeRequest({ protocol: 'websocket', method: 'POST', extra })
    test(`${name}, at once`, async () => {
      await using backend = await webSocketBackend()
      await using running = await runProxy({ target: backend.url })
      const { text, ending } = await converse(running.port, head + body)
      assert.match(text, /^HTTP\/1\.1 400 [\s\S]*ERR_PROXY_BAD_REQUEST/)
      assert.equal(ending, 'end')
      assert.equal(backend.connections, 0)
    })
    test(`${name}, late`, async () => {
      await using backend = await webSocketBackend()
      await using running = await runProxy({ target: backend.url })
      const client = rawClient(running.port)
      client.socket.allowHalfOpen = true
      client.write(head)
      assert.match(await client.until('ERR_PROXY_BAD_REQUEST'), /^HTTP\/1\.1 400 /)
      client.write(body)
      client.socket.end()
      assert.equal(await client.ended, 'end')
      assert.equal(backend.connections, 0)
    })
    test(`${name}, never`, async () => {
      await using backend = await webSocketBackend()
      await using running = await runProxy({ target: backend.url })
      const client = rawClient(running.port)
      client.write(head + body.slice(0, 4))
      await client.until('ERR_PROXY_BAD_REQUEST')
      client.socket.resetAndDestroy()
      assert.equal((await running.nextRecord()).status, 400)
    })
  }
})

describe('a refusal of the backend goes to the client', () => {
  const refusals: Record<string, { script: MockScript; body: string; framing: RegExp }> = {
    fixed: {
      script: {
        status: 401,
        reason: 'Who Are You',
        headers: [
          'WWW-Authenticate',
          'Basic',
          'X-Hop',
          '1',
          'Connection',
          'X-Hop',
          'Keep-Alive',
          'timeout=5',
          'Set-Cookie',
          'a=1',
          'Set-Cookie',
          'b=2',
        ],
        body: 'say who you are',
      },
      body: 'say who you are',
      framing: /\r\nContent-Length: 15\r\n/i,
    },
    chunked: {
      script: {
        status: 401,
        reason: 'Who Are You',
        headers: ['WWW-Authenticate', 'Basic', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'],
        chunks: ['say ', 'who'],
      },
      body: 'say who\r\n0\r\n\r\n',
      framing: /\r\nTransfer-Encoding: chunked\r\n/i,
    },
  }
  for (const [name, { script, body, framing }] of Object.entries(refusals)) {
    test(`401, ${name}`, async () => {
      await using backend = await mockBackend(script)
      await using running = await runProxy({ target: backend.url })
      const { text, ending } = await converse(running.port, ask)
      const [head = '', ...rest] = text.split('\r\n\r\n')
      assert.equal(ending, 'end')
      assert.match(head, /^HTTP\/1\.1 401 Who Are You\r\n/)
      assert.match(`${head}\r\n`, framing)
      assert.match(
        `${head}\r\n`,
        /\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n[\s\S]*Connection: close\r\n/,
      )
      assert.doesNotMatch(head, /x-hop|keep-alive/i)
      assert.equal(rest.join('\r\n\r\n').replace(/^7\r\n|(?<=say )\r\n3\r\n|^4\r\n/g, ''), body)
      const record = await running.nextRecord()
      assert.equal(record.outcome, 'answered')
      assert.equal(record.status, 401)
      assert.equal(record.responseBytes, name === 'fixed' ? 15 : 7)
      assert.equal(running.pending(), 0)
      await backend.untilOpenConnections(0)
    })
  }

  test('answers without a body, and to HEAD', async () => {
    await using backend = await mockBackend([
      { status: 204 },
      { status: 304 },
      (_request, reply) => {
        reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n')
        reply.end()
      },
    ])
    await using running = await runProxy({ target: backend.url })
    for (const [method, status] of [
      ['GET', 204],
      ['GET', 304],
      ['HEAD', 200],
    ] as const) {
      const { text, ending } = await converse(running.port, upgradeRequest({ method }))
      assert.equal(ending, 'end')
      assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} (?:.|\\s)*\r\n\r\n$`))
      assert.equal(/content-length: 7/i.test(text), method === 'HEAD')
    }
  })

  test('a ws client learns the status', async () => {
    await using backend = await mockBackend({ status: 403, body: 'no' })
    await using running = await runProxy({ target: backend.url })
    const socket = new WebSocket(running.url.replace('http', 'ws'))
    const [, response] = await once(socket, 'unexpected-response')
    assert.equal(response.statusCode, 403)
    socket.on('error', () => {})
    socket.terminate()
  })

  test('response transforms apply, and the response event tells of it', async () => {
    await using backend = await mockBackend({ status: 401, headers: ['X-Drop', '1'] })
    await using running = await runProxy({
      target: backend.url,
      routes: [
        {
          transforms: [{ name: 'hide', response: (response) => Object.assign(response, { status: 404 }) }],
          responseHeaders: { remove: ['X-Drop'] },
        },
      ],
    })
    const statuses: number[] = []
    running.proxy.on('response', (_exchange, status) => statuses.push(status))
    const { text } = await converse(running.port, ask)
    assert.match(text, /^HTTP\/1\.1 404 Not Found\r\n/)
    assert.doesNotMatch(text, /x-drop/i)
    assert.deepEqual(statuses, [404])
  })

  test('a client that reads slowly holds the backend back, and gets it all', async () => {
    const chunk = randomBytes(MIB)
    const total = 32
    let sent = 0
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ status: 403 })
      for (; sent < total; sent++) {
        reply.chunk(chunk)
        await reply.drained()
      }
      reply.end()
    })
    await using running = await runProxy({ target: backend.url })
    const socket = net.connect(running.port, '127.0.0.1')
    socket.write(ask)
    await once(socket, 'readable')
    // What fits into the buffers on the way has gone out; no more than that.
    let before = -1
    while (before !== sent) {
      before = sent
      await rounds(200)
    }
    assert.ok(sent < total, `${sent} MiB of ${total} were taken`)
    let received = 0
    for await (const bytes of socket) received += bytes.length
    assert.ok(received > total * MIB)
    assert.equal((await running.nextRecord()).outcome, 'answered')
  })

  for (const [name, script] of Object.entries({
    'chunked, reset': misbehaviour.resetMidBody,
    'chunked, FIN': misbehaviour.cutMidBody,
    'fixed, FIN': misbehaviour.shortBody,
    'a bad chunk': misbehaviour.badChunk,
  })) {
    test(`cut in the middle (${name}): the client sees the cut`, async () => {
      await using backend = await mockBackend(script)
      await using running = await runProxy({ target: backend.url })
      const { text } = await converse(running.port, ask)
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n/)
      assert.doesNotMatch(text, /\r\n0\r\n\r\n$/)
      const record = await running.nextRecord()
      assert.equal(record.outcome, 'truncated')
      assert.equal(record.errorCode, 'ERR_PROXY_TRUNCATED')
      assert.equal(running.pending(), 0)
    })
  }

  test('without a byte for the idle time it is cut, whoever is to blame', async () => {
    const stop = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ status: 403 })
      reply.chunk('first')
      await stop.promise
    })
    await using running = await runProxy({ target: backend.url, timeouts: { idle: 1 } })
    await converse(running.port, ask)
    const record = await running.nextRecord()
    assert.equal(record.outcome, 'truncated')
    assert.equal(record.errorCode, 'ERR_PROXY_IDLE_TIMEOUT')
    await backend.untilOpenConnections(0)
    stop.open()
  })

  test('the client goes while it comes: the backend is let go', async () => {
    await using backend = await mockBackend((_request, reply) => {
      reply.head({ status: 403 })
      reply.chunk('first')
    })
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(ask)
    await client.until('first')
    client.socket.resetAndDestroy()
    assert.equal((await running.nextRecord()).outcome, 'aborted')
    await backend.untilOpenConnections(0)
  })
})

describe('several listeners on one server', () => {
  test('each proxy takes the upgrades that its routes match; what nobody wants is 404, once', async () => {
    await using one = await webSocketBackend()
    await using two = await webSocketBackend()
    await using second = await runProxy({ target: two.url, routes: [{ path: '/two' }] })
    await using running = await runInServer({ target: one.url, routes: [{ path: '/one' }] }, (proxy) => {
      const server = http.createServer((_req, res) => res.end('the application'))
      proxy.attach(server)
      second.proxy.attach(server)
      // Once more does nothing.
      proxy.attach(server)
      return server
    })
    for (const [where, backend] of [
      ['/one', one],
      ['/two', two],
    ] as const) {
      const socket = new WebSocket(`ws://127.0.0.1:${running.port}${where}`)
      await once(socket, 'open')
      assert.equal(backend.requests.length, 1)
      assert.equal(backend.requests[0]?.url, where)
      socket.terminate()
    }
    const { text } = await converse(running.port, upgradeRequest({ path: '/three' }))
    assert.match(text, /^HTTP\/1\.1 404 /)
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1)
    assert.equal(await (await fetch(running.url)).text(), 'the application')
  })

  test("what our routes do not match is left to the application's own listener", async () => {
    await using backend = await webSocketBackend()
    await using running = await runInServer({ target: backend.url, routes: [{ path: '/ours' }] }, (proxy) => {
      const server = http.createServer()
      proxy.attach(server)
      return server.on('upgrade', (req, socket) => {
        if (req.url === '/theirs') socket.end('HTTP/1.1 418 Theirs\r\n\r\n')
      })
    })
    assert.match((await converse(running.port, upgradeRequest({ path: '/theirs' }))).text, /^HTTP\/1\.1 418 Theirs/)
    assert.equal(backend.connections, 0)
  })
})

test('an upgrade in a pipeline waits for the answer before it', async () => {
  const held = gate()
  await using plain = await mockBackend(misbehaviour.answerAfter(held.promise, { body: 'first' }))
  await using backend = await rawBackend((upgrade) => upgrade.accept())
  await using running = await runProxy({
    groups: { plain: { target: plain.url }, upgrades: { target: backend.url } },
    routes: [
      { path: '/', group: 'upgrades' },
      { path: '/plain', group: 'plain' },
    ],
  })
  const client = rawClient(running.port)
  client.write(`GET /plain HTTP/1.1\r\nHost: x\r\n\r\n${upgradeRequest({ path: '/up' })}`)
  await plain.nextRequest()
  await rounds()
  assert.equal(client.text, '')
  assert.equal(backend.connections, 0)
  held.open()
  assert.match(await client.until('101'), /^HTTP\/1\.1 200 [\s\S]*firstHTTP\/1\.1 101 /)
  client.socket.destroy()
})
