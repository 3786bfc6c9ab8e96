import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import http from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { peerLookup } from '../../src/fronts/peer.ts'
import { trustMatcher } from '../../src/headers/trust.ts'
import { createProxy, OptionsError, type ProxyOptions } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockRequest } from '../../src/testing/mock-script.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, inHttp2, queue } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

const LINES = [
  'X-Forwarded-Prefix: /x',
  'X-Forwarded-Ssl: on',
  'X-Forwarded-Scheme: https',
  'X-Forwarded-Server: s',
  'X-Forwarded-User: root',
  'X-Forwarded-Client-Cert: c',
  'X-Forwarded: 1',
  'X-Real-IP: 192.0.2.1',
  'X-Original-URL: /admin',
  'X-Rewrite-URL: /admin',
  'Forwarded: for=192.0.2.1',
]
const OURS = ['X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'X-Forwarded-Port']

function names({ headers }: MockRequest): string[] {
  return headers.filter((_, i) => i % 2 === 0)
}

for (const { name, run } of ALL_FRONTS) {
  describe(name, () => {
    /** Names as they arrive: in HTTP/2 clients send them in lower case. */
    const sent = (list: readonly (string | undefined)[]) =>
      list.map((one) => (name === 'HTTP/2' ? one?.toLowerCase() : one))

    async function pass(lines: readonly string[], options: ProxyOptions = {}): Promise<MockRequest> {
      await using backend = await mockBackend()
      await using front = await run({ target: backend.url, ...options })
      const text = ['GET / HTTP/1.1', 'Host: a', ...lines, '', ''].join('\r\n')
      const client = rawClient(front.port)
      client.write(text)
      const request = await backend.nextRequest()
      client.socket.destroy()
      return request
    }

    test('no forwarding header of an untrusted peer passes', async () => {
      assert.deepEqual(names(await pass([...LINES, 'Proxy: x'])), [...sent(['Host']), ...OURS])
    })

    test('all forwarding headers of a trusted peer pass, except Proxy', async () => {
      const request = await pass([...LINES, 'Proxy: x'], { trustedProxies: ['loopback'] })
      assert.deepEqual(names(request), [...sent(['Host', ...LINES.map((line) => line.split(':')[0])]), ...OURS])
    })

    test('forwarded.pass lists exceptions, in any case', async () => {
      const request = await pass(LINES, { forwarded: { pass: ['x-forwarded-PREFIX', 'X-Real-IP'] } })
      assert.deepEqual(names(request), [...sent(['Host', 'X-Forwarded-Prefix', 'X-Real-IP']), ...OURS])
    })

    test('an exception does not apply to look-alikes of the name', async () => {
      const request = await pass(['X_Real_IP: 1', 'X-Real_IP: 2'], { forwarded: { pass: ['X-Real-IP'] } })
      assert.deepEqual(names(request), [...sent(['Host']), ...OURS])
    })

    test('no forwarding header can be nominated by Connection', {
      skip: inHttp2(name, 'there is no Connection'),
    }, async () => {
      const nominated = LINES.map((line) => line.split(':')[0])
      const request = await pass([`Connection: keep-alive, ${nominated.join(', ')}`, ...LINES], {
        trustedProxies: ['loopback'],
      })
      assert.deepEqual(names(request), ['Host', ...nominated, ...OURS])
    })

    test('X-Forwarded-For may have a port or a zone', async () => {
      await using backend = await mockBackend()
      await using front = await run({
        target: backend.url,
        trustedProxies: ['loopback', '10.0.0.0/8'],
        accessLog: { format: 'combined', write: () => {} },
      })
      for (const [forwardedFor, client] of [
        ['192.0.2.1:4711', '192.0.2.1'],
        ['192.0.2.1, 10.1.2.3:4711', '192.0.2.1'],
        ['192.0.2.1, "[::1]:80"', '192.0.2.1'],
        ['::1%-', '::1'],
        ['192.0.2.1, ::1%-', '192.0.2.1'],
        ['192.0.2.1, unknown', '127.0.0.1'],
      ]) {
        const text = `GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${forwardedFor}\r\nConnection: close\r\n\r\n`
        assert.match((await converse(front.port, text)).text, /^HTTP\/1\.1 200 /)
        assert.equal((await front.nextRecord()).clientAddress, client, forwardedFor)
        // What goes on is what the hop said.
        assert.equal((await backend.nextRequest()).header('x-forwarded-for'), `${forwardedFor}, 127.0.0.1`)
      }
    })

    test('an upgrade passes no forwarding header, and never Proxy', {
      skip: inHttp2(name, 'the handshake is that of the proxy'),
    }, async () => {
      for (const [trustedProxies, expected] of [
        [[], 0],
        [['loopback'], LINES.length],
      ] as const) {
        await using backend = await rawBackend((upgrade) => upgrade.accept())
        await using front = await run({ target: backend.url, xfwd: false, trustedProxies: [...trustedProxies] })
        const client = rawClient(front.port)
        client.write(upgradeRequest({ extra: [...LINES, 'Proxy: x', 'X_Real_IP: 1', ''].join('\r\n') }))
        await client.until('\r\n\r\n')
        const head = backend.heads[0] ?? ''
        assert.equal(LINES.filter((line) => head.includes(`\r\n${line}\r\n`)).length, expected)
        assert.doesNotMatch(head, /\r\nproxy:|x_real/i)
        client.socket.destroy()
      }
    })
  })
}

for (const trustedProxies of [['unix'], ['loopback']]) {
  test(`a peer on a unix socket, if ${trustedProxies} is trusted`, async () => {
    const isTrusted = trustedProxies.includes('unix')
    const directory = mkdtempSync(join(tmpdir(), 'heddle-'))
    await using backend = await mockBackend()
    const proxy = createProxy({ target: backend.url, trustedProxies })
    const records = queue<string>()
    proxy.on('finish', (_, { clientAddress }) => records.push(clientAddress))
    const ours = join(directory, 'ours')
    await proxy.listen({ path: ours })
    const server = http.createServer(proxy.web)
    const theirs = join(directory, 'theirs')
    server.listen(theirs)
    await once(server, 'listening')
    for (const path of [ours, theirs]) {
      await converse(path, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
      assert.equal(await records.next(), '')
      assert.deepEqual(names(await backend.nextRequest()), ['Host', 'X-Forwarded-Proto', 'X-Forwarded-Host'])
      await converse(
        path,
        'GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Port: 443\r\nConnection: close\r\n\r\n',
      )
      assert.equal(await records.next(), isTrusted ? '192.0.2.1' : '')
      const request = await backend.nextRequest()
      assert.equal(request.header('x-forwarded-for'), isTrusted ? '192.0.2.1' : undefined)
      assert.equal(request.header('x-forwarded-port'), isTrusted ? '443' : undefined)
    }
    await proxy.close()
    server.close()
  })
}

test('a closed connection has an unknown address, and is not a unix socket', () => {
  const peerOf = peerLookup(trustMatcher(['unix']))
  const gone = { destroyed: true } as Socket
  assert.deepEqual(peerOf(gone), { address: 'unknown', localPort: 0, isSecure: false, isTrusted: false })
  // Reset before we asked: the system knows its own end only.
  const reset = { destroyed: false, localAddress: '127.0.0.1', localPort: 80 } as Socket
  assert.deepEqual(peerOf(reset), { address: 'unknown', localPort: 80, isSecure: false, isTrusted: false })
})

test('a link-local client is matched without its zone', () => {
  const peerOf = peerLookup(trustMatcher(['fe80::/10']))
  for (const zone of ['eth0', 'wan-0', 'br_lan', '-', 'veth@if2']) {
    const socket = { remoteAddress: `fe80::1%${zone}`, localAddress: 'fe80::2', localPort: 80 } as Socket
    assert.deepEqual(peerOf(socket), { address: 'fe80::1', localPort: 80, isSecure: false, isTrusted: true })
  }
})

test('forwarded.pass accepts only forwarding headers that the proxy does not write', () => {
  const target = 'http://127.0.0.1:1'
  createProxy({
    target,
    forwarded: { pass: ['Forwarded', 'x-real-ip', 'X-Forwarded-Anything', 'X-Original-URL', 'x-rewrite-url'] },
  })
  createProxy({ target, forwarded: {} })
  for (const wrong of [
    '',
    'x y',
    'Cookie',
    'Proxy',
    'X-Forwarded-For',
    'x-forwarded-port',
    'X_Real_IP',
    'X-Forwardedx',
  ]) {
    assert.throws(
      () => createProxy({ target, forwarded: { pass: [wrong] } }),
      (error: unknown) => error instanceof OptionsError && /forwarded\.pass\[0\]/.test(error.message),
      wrong,
    )
  }
})
