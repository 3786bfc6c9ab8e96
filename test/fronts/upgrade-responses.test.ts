import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { FRONTS } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

const OK = 'HTTP/1.1 403 Forbidden\r\n'
const EMPTY = 'Content-Length: 0\r\n\r\n'
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n'

/** Heads that our parser of responses refuses, too. */
const NOT_HTTP: Record<string, string> = {
  'a control character in the reason': `HTTP/1.1 403 No\x01pe\r\n${EMPTY}`,
  'terminal colours in the reason': `HTTP/1.1 403 \x1b[31mForbidden\x1b[0m\r\n${EMPTY}`,
  'DEL in the reason': `HTTP/1.1 403 No\x7fpe\r\n${EMPTY}`,
  'NUL in the reason': `HTTP/1.1 403 No\0pe\r\n${EMPTY}`,
  'status 000': `HTTP/1.1 000 Zero\r\n${EMPTY}`,
  'status 009': `HTTP/1.1 009 Nine\r\n${EMPTY}`,
  'status 099': `HTTP/1.1 099 Low\r\n${EMPTY}`,
  'a status of four digits': `HTTP/1.1 4030 Four\r\n${EMPTY}`,
  'HTTP/2.0': `HTTP/2.0 403 Forbidden\r\n${EMPTY}`,
  'a coding before chunked': `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  'a coding before chunked, in two lines': `${OK}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'an unknown coding': `${OK}Transfer-Encoding: identity\r\n\r\n`,
  'both framings': `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'differing lengths': `${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`,
  'a length in a list': `${OK}Content-Length: 5, 5\r\n\r\nhello`,
  'a length with a sign': `${OK}Content-Length: +5\r\n\r\nhello`,
  'chunks in HTTP/1.0': 'HTTP/1.0 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'bare LF': `HTTP/1.1 403 Forbidden\nX: y\r\n${EMPTY}`,
  'bare LF only': 'HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n',
  'a bare CR in a value': `${OK}X: a\rb\r\n${EMPTY}`,
  'a folded header line': `${OK}X: a\r\n b\r\n${EMPTY}`,
  'white space before the colon': `${OK}X : a\r\n${EMPTY}`,
  'a nameless header': `${OK}: a\r\n${EMPTY}`,
  'a NUL in a value': `${OK}X: a\0b\r\n${EMPTY}`,
  'a folded header line in a 101': `${SWITCH}X: a\r\n b\r\n\r\n`,
  'a control character in the reason of a 101':
    'HTTP/1.1 101 Sw\x1bitch\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n',
  'both framings in a 101': `${SWITCH}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
  'too many interim responses': `${'HTTP/1.1 102 Processing\r\n\r\n'.repeat(101)}${OK}${EMPTY}`,
  'nothing of HTTP': 'SSH-2.0-OpenSSH_9.9\r\n\r\n',
}

for (const { name, run } of FRONTS) {
  describe(`${name}: a response to an upgrade that is not HTTP is a 502`, () => {
    for (const [what, answer] of Object.entries(NOT_HTTP)) {
      test(what, async () => {
        await using backend = await rawBackend(({ socket }) => socket.write(answer, 'latin1'))
        await using running = await run({ target: backend.url })
        const client = rawClient(running.port)
        client.write(upgradeRequest())
        await client.ended
        assert.match(client.text, /^HTTP\/1\.1 502 Bad Gateway\r\n[\s\S]*ERR_PROXY_BAD_RESPONSE\)\n$/)
        const record = await running.nextRecord()
        assert.equal(record.errorCode, 'ERR_PROXY_BAD_RESPONSE')
        assert.equal(record.attempts, 1)
        await backend.untilOpen(0)
        assert.equal(running.pending(), 0)
      })
    }

    test('also if it comes byte by byte', async () => {
      await using backend = await rawBackend(({ socket }) => {
        socket.setNoDelay(true)
        let at = 0
        const text = NOT_HTTP['a coding before chunked'] as string
        const next = (): void => {
          if (socket.destroyed || at === text.length) return
          socket.write(text[at++] as string, () => setImmediate(next))
        }
        next()
      })
      await using running = await run({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      await client.ended
      assert.match(client.text, /^HTTP\/1\.1 502 [\s\S]*ERR_PROXY_BAD_RESPONSE/)
    })
  })

  describe(`${name}: the head of a response to an upgrade`, () => {
    test('its bytes over 0x7f stay single bytes, its lines stay in order: 101', async () => {
      const lines = 'X-Name: Gr\xfc\xdfe\r\nSet-Cookie: a=\xe9\r\nX-Between: 1\r\nset-cookie: b=2\r\n'
      await using backend = await rawBackend(({ socket }) => socket.write(`${SWITCH}${lines}\r\n\xff`, 'latin1'))
      await using running = await run({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      await client.until('\xff')
      const head = `HTTP/1.1 101 Switching Protocols\r\n${lines}Connection: Upgrade\r\nUpgrade: foo\r\n\r\n\xff`
      assert.equal(client.text, head)
      client.socket.destroy()
    })

    for (const [framing, body] of Object.entries({
      'Content-Length': 'Content-Length: 2\r\n\r\n\xe9\xe9',
      chunks: 'Transfer-Encoding: chunked\r\n\r\n2\r\n\xe9\xe9\r\n0\r\n\r\n',
      'no body': EMPTY,
    })) {
      test(`its bytes over 0x7f stay single bytes: a refusal (${framing})`, async () => {
        await using backend = await rawBackend(({ socket }) =>
          socket.write(`HTTP/1.1 403 Verbot\xe9n\r\nX-Name: Gr\xfc\xdfe\r\n${body}`, 'latin1'),
        )
        await using running = await run({ target: backend.url })
        const client = rawClient(running.port)
        client.write(upgradeRequest())
        await client.ended
        assert.match(client.text, /^HTTP\/1\.1 403 Verbot\xe9n\r\nX-Name: Gr\xfc\xdfe\r\n/)
        assert.equal(client.text.includes('\xe9\xe9'), framing !== 'no body')
      })
    }

    for (const [what, head] of Object.entries({ 'a 101': SWITCH, 'a refusal': OK })) {
      test(`${what} of up to pool.maxResponseHeadBytes passes, with any number of lines`, async () => {
        const lines = Array.from({ length: 3000 }, (_, i) => `X-${i}: ${'x'.repeat(9)}\r\n`)
        await using backend = await rawBackend(({ socket }) =>
          socket.write(`${head}${lines.join('')}${what === 'a 101' ? '' : 'Content-Length: 0\r\n'}\r\n`),
        )
        await using running = await run({ target: backend.url })
        const client = rawClient(running.port)
        client.write(upgradeRequest())
        await client.until('\r\n\r\n')
        assert.match(client.text, what === 'a 101' ? /^HTTP\/1\.1 101 / : /^HTTP\/1\.1 403 /)
        assert.equal(client.text.match(/\r\nX-\d+: xxxxxxxxx/g)?.length, 3000)
        client.socket.destroy()
        await using small = await run({ target: backend.url, pool: { maxResponseHeadBytes: 32_768 } })
        const refused = rawClient(small.port)
        refused.write(upgradeRequest())
        await refused.ended
        assert.match(refused.text, /^HTTP\/1\.1 502 [\s\S]*ERR_PROXY_BAD_RESPONSE/)
      })
    }

    test('of a refusal does not wait for its body', async () => {
      await using backend = await rawBackend(({ socket }) => socket.write(`${OK}Transfer-Encoding: chunked\r\n\r\n`))
      await using running = await run({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      assert.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 403 Forbidden\r\n/)
      client.socket.destroy()
    })
  })

  describe(`${name}: a client that goes during a refusal`, () => {
    for (const [how, go] of Object.entries({
      'with a FIN': (client: RawClient) => client.socket.end(),
      'at once': (client: RawClient) => client.socket.destroy(),
      'with a reset': (client: RawClient) => client.socket.resetAndDestroy(),
    })) {
      for (const [what, late] of Object.entries({ 'before its body': '', 'after bytes that nobody wants': 'bytes' })) {
        test(`${how}, ${what}: the backend is let go, and the record says so`, async () => {
          await using backend = await rawBackend(
            ({ socket }) => socket.write(`${OK}Transfer-Encoding: chunked\r\n\r\n`),
            { keepsOpen: true },
          )
          await using running = await run({ target: backend.url })
          const client = rawClient(running.port)
          client.socket.allowHalfOpen = true
          client.write(upgradeRequest({ body: late }))
          await client.until('\r\n\r\n')
          go(client)
          const record = await running.nextRecord()
          assert.equal(record.outcome, 'aborted')
          assert.equal(record.errorCode, 'ERR_PROXY_CLIENT_GONE')
          assert.equal(running.pending(), 0)
          assert.equal(running.proxy.stats().active, 0)
          await client.ended
          const { socket } = await backend.nextUpgrade()
          // One that has had its FIN hears of more only when it writes.
          while (!socket.destroyed) {
            socket.write('1\r\nx\r\n')
            await new Promise((resolve) => setImmediate(resolve))
          }
        })
      }
    }
  })
}
