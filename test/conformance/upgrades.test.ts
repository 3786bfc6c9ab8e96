import assert from 'node:assert/strict'
import http from 'node:http'
import { describe, test } from 'node:test'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { FRONTS, rounds, runInServer } from '../support/running-proxy.ts'
import { rawBackend, switching, upgradeRequest } from '../support/upgrade-backends.ts'
import { NEXT, statuses } from './stage.ts'

const asks = 'shouldUpgradeCallback' in http.createServer()

for (const { name, run } of FRONTS) {
  describe(name, () => {
    describe('what is not to be switched is an ordinary request', () => {
      for (const { rule, request } of [
        { rule: 'h2c', request: upgradeRequest({ protocol: 'h2c', extra: 'HTTP2-Settings: AAMA\r\n' }) },
        {
          rule: 'h2c with its settings nominated',
          request: upgradeRequest({ protocol: 'h2c', extra: 'Connection: HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n' }),
        },
        { rule: 'h2c in capitals', request: upgradeRequest({ protocol: 'H2C' }) },
        { rule: 'h2c twice', request: upgradeRequest({ protocol: 'h2c', extra: 'Upgrade: h2c\r\n' }) },
        { rule: 'h2c between empty members', request: upgradeRequest({ protocol: ',h2c , ' }) },
        { rule: 'h2', request: upgradeRequest({ protocol: 'h2' }) },
        { rule: 'another version of HTTP by name', request: upgradeRequest({ protocol: 'HTTP/2.0' }) },
        { rule: 'an upgrade to nothing', request: upgradeRequest({ protocol: '' }) },
        { rule: 'an upgrade in HTTP/1.0', request: upgradeRequest({ version: '1.0', protocol: 'websocket' }) },
        {
          rule: 'Upgrade that Connection does not nominate',
          request: 'GET / HTTP/1.1\r\nHost: example.test\r\nUpgrade: websocket\r\n\r\n',
        },
        {
          rule: 'Connection: upgrade without Upgrade',
          request: 'GET / HTTP/1.1\r\nHost: example.test\r\nConnection: Upgrade\r\n\r\n',
        },
      ]) {
        test(rule, async () => {
          await using backend = await mockBackend()
          await using front = await run({ target: backend.url, xfwd: false })
          const client = rawClient(front.port)
          client.write(request)
          await client.until('GET /')
          assert.deepEqual(statuses(client.text), [200])
          assert.equal(backend.requests[0]?.rawHead, 'GET / HTTP/1.1\r\nHost: example.test\r\n\r\n')
          client.socket.destroy()
        })
      }
    })

    test('h2c in a list: what else is in the list is asked for', async () => {
      await using backend = await rawBackend((upgrade) => upgrade.accept())
      await using front = await run({ target: backend.url, xfwd: false })
      const client = rawClient(front.port)
      client.write(upgradeRequest({ protocol: 'h2c, foo', extra: 'Upgrade: HTTP/2.0\r\nHTTP2-Settings: AAMA\r\n' }))
      await client.until('\r\n\r\n')
      assert.match(backend.heads[0] ?? '', /\r\nupgrade: foo\r\n/i)
      assert.doesNotMatch(backend.heads[0] ?? '', /h2|http2/i)
      client.socket.destroy()
    })

    describe('refused before a backend is asked, and the connection ends', () => {
      for (const { rule, request, status = 400 } of [
        {
          rule: 'an upgrade with Content-Length',
          request: upgradeRequest({ extra: 'Content-Length: 5\r\n', body: 'hello' }),
        },
        {
          rule: 'an upgrade with Transfer-Encoding',
          request: upgradeRequest({ extra: 'Transfer-Encoding: chunked\r\n', body: '5\r\nhello\r\n0\r\n\r\n' }),
        },
        {
          rule: 'an upgrade with a request as its body',
          request: upgradeRequest({ extra: `Content-Length: ${NEXT.length}\r\n` }),
        },
        {
          rule: 'an upgrade with an unknown coding before chunked',
          request: upgradeRequest({ extra: 'Transfer-Encoding: gzip, chunked\r\n', body: '0\r\n\r\n' }),
        },
        { rule: 'an upgrade without Host', request: 'GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n' },
        { rule: 'an upgrade with two Hosts', request: upgradeRequest({ extra: 'Host: b\r\n' }) },
        {
          rule: 'an upgrade with an invalid Host',
          request: 'GET / HTTP/1.1\r\nHost: a b\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n',
        },
        { rule: 'an upgrade with a fragment in its target', request: upgradeRequest({ path: '/#x' }) },
        {
          rule: 'an upgrade whose target is too long',
          request: upgradeRequest({ path: `/${'x'.repeat(100)}` }),
          status: 414,
        },
        {
          rule: 'an upgrade with too many headers',
          request: upgradeRequest({ extra: 'X: 1\r\n'.repeat(20) }),
          status: 431,
        },
        {
          rule: 'an upgrade of OPTIONS with Max-Forwards: 0',
          request: upgradeRequest({ method: 'OPTIONS', extra: 'Max-Forwards: 0\r\n' }),
          status: 200,
        },
        { rule: 'an upgrade of TRACE', request: upgradeRequest({ method: 'TRACE' }), status: 405 },
        { rule: 'an upgrade with a Host of more than 255 bytes', request: upgradeRequest({ host: 'a.'.repeat(128) }) },
        {
          rule: 'an upgrade with a Connection list of more than 4096 bytes',
          request: upgradeRequest({ extra: `Connection: ${'x, '.repeat(1400)}x\r\n` }),
        },
      ]) {
        test(rule, async () => {
          await using backend = await rawBackend((upgrade) => upgrade.accept())
          await using front = await run({ target: backend.url, limits: { maxTargetBytes: 100, maxHeaders: 20 } })
          const { text, ending } = await converse(front.port, request + NEXT)
          assert.deepEqual(statuses(text), [status])
          assert.match(text, /\r\nConnection: close\r\n/)
          assert.equal(ending, 'end')
          assert.equal((await front.nextRecord()).status, status)
          assert.equal(backend.connections, 0)
        })
      }
    })

    for (const { rule, late } of [
      { rule: 'an upgrade with a body that comes late', late: 'hello' },
      { rule: 'an upgrade with a body that never comes', late: '' },
    ]) {
      test(rule, async () => {
        await using backend = await rawBackend((upgrade) => upgrade.accept())
        await using front = await run({ target: backend.url })
        const client = rawClient(front.port)
        client.socket.allowHalfOpen = true
        client.write(upgradeRequest({ extra: 'Content-Length: 5\r\n' }))
        await client.until('ERR_PROXY_BAD_REQUEST')
        client.write(late)
        client.socket.end()
        assert.equal(await client.ended, 'end')
        assert.equal(backend.connections, 0)
      })
    }

    test('h2c with a body is an ordinary request with its body, where node asks', { skip: !asks }, async () => {
      await using backend = await mockBackend()
      await using front = await run({ target: backend.url, xfwd: false })
      const client = rawClient(front.port)
      const extra = `Content-Length: ${NEXT.length}\r\n`
      client.write(upgradeRequest({ protocol: 'h2c', method: 'POST', extra, body: NEXT }))
      await client.until('POST /')
      assert.equal((await backend.nextRequest()).bodyText, NEXT)
      assert.equal(backend.requests.length, 1)
      client.socket.destroy()
    })

    describe('an answer that is no switch to what was asked for', () => {
      for (const { rule, answer } of [
        { rule: 'a 101 to another protocol', answer: switching('bar') },
        { rule: 'a 101 to h2c', answer: switching('h2c') },
        { rule: 'a 101 to another protocol besides', answer: switching('foo, bar') },
        { rule: 'a 101 to no protocol', answer: 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n' },
        {
          rule: 'a 101 with a bare LF in a value',
          answer: 'HTTP/1.1 101 Switching Protocols\r\nX: a\nb: c\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n',
        },
        { rule: 'an answer to an upgrade that is no HTTP', answer: 'SSH-2.0-x\r\n\r\n' },
      ]) {
        test(rule, async () => {
          await using backend = await rawBackend(({ socket }) => socket.write(answer))
          await using front = await run({ target: backend.url, retry: false })
          const { text, ending } = await converse(front.port, upgradeRequest({ body: NEXT }))
          assert.deepEqual(statuses(text), [502])
          assert.equal(ending, 'end')
          await backend.untilOpen(0)
          assert.equal(backend.heads.length, 1)
        })
      }

      for (const { rule, status } of [
        { rule: 'a 426: what the client sends on does not reach the backend', status: '426 Upgrade Required' },
        { rule: 'a 200: what the client sends on does not reach the backend', status: '200 OK' },
      ]) {
        test(rule, async () => {
          await using backend = await rawBackend(({ socket }) =>
            socket.write(`HTTP/1.1 ${status}\r\nContent-Length: 2\r\n\r\nno`),
          )
          await using front = await run({ target: backend.url })
          const client = rawClient(front.port)
          client.write(upgradeRequest({ body: NEXT }))
          const upgrade = await backend.nextUpgrade()
          await client.ended
          await rounds()
          assert.deepEqual(statuses(client.text), [Number(status.slice(0, 3))])
          assert.match(client.text, /\r\nConnection: close\r\n\r\nno$/)
          assert.equal(upgrade.received, '')
          assert.equal(backend.connections, 1)
          await backend.untilOpen(0)
        })
      }
    })
  })
}

test('bytes behind h2c that is served through proxy.ws are no request', async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer().on('upgrade', (req, socket, head) => proxy.ws(req, socket, head)),
  )
  const { text } = await converse(front.port, upgradeRequest({ protocol: 'h2c' }) + NEXT)
  assert.deepEqual(statuses(text), [200])
  assert.deepEqual(
    backend.requests.map(({ path }) => path),
    ['/'],
  )
})
