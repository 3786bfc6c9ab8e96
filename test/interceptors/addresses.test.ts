import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { type AddressesOptions, addresses, createProxy, type ResponseHead } from '../../src/index.ts'
import { exchangeView, mockBackend } from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { through } from '../support/interceptors.ts'
import { converse } from '../support/raw-client.ts'
import { ALL_FRONTS, inHttp2 } from '../support/running-proxy.ts'

/** Whether a client with this address passes. */
function passes(options: AddressesOptions, clientAddress: string): boolean {
  const results: (string | number)[] = []
  const handle = addresses(options).wrap(() => results.push('passed'))
  const head = { method: 'GET', path: '/', authority: '', headers: [], upgrade: null }
  const sink = { onHead: ({ status }: ResponseHead) => results.push(status), onData: () => true, onEnd() {} }
  void handle(exchangeView({ clientAddress }), head, null, sink as never)
  assert.ok(results[0] === 'passed' || results[0] === 403, String(results))
  return results[0] === 'passed'
}

test('only listed clients pass if there is a list', () => {
  const options = { allow: ['10.0.0.0/8', '192.0.2.7', '2001:db8::/32', 'loopback'] }
  for (const address of ['10.1.2.3', '192.0.2.7', '2001:db8::9', '127.0.0.1', '::1', '::ffff:10.1.2.3', 'fe80::1%x'])
    assert.equal(passes(options, address), address !== 'fe80::1%x', address)
  for (const address of ['11.1.2.3', '192.0.2.8', '::ffff:11.1.2.3', '2001:db9::9', '', 'unknown'])
    assert.equal(passes(options, address), false, address)
})

test('denied clients do not pass, even if they are listed', () => {
  assert.equal(passes({ deny: ['192.0.2.0/24'] }, '192.0.2.1'), false)
  assert.equal(passes({ deny: ['192.0.2.0/24'] }, '::ffff:192.0.2.1'), false)
  assert.equal(passes({ deny: ['192.0.2.0/24'] }, '192.0.3.1'), true)
  const both = { allow: ['private'], deny: ['10.0.0.0/8'] }
  assert.equal(passes(both, '10.0.0.1'), false)
  assert.equal(passes(both, '192.168.0.1'), true)
  assert.equal(passes(both, '203.0.113.1'), false)
})

test('a client without an address is on a unix socket', () => {
  assert.equal(passes({ allow: ['unix'] }, ''), true)
  assert.equal(passes({ allow: ['loopback'] }, ''), false)
  assert.equal(passes({ deny: ['loopback'] }, ''), true)
  assert.equal(passes({ deny: ['unix'] }, ''), false)
  assert.equal(passes({ allow: ['0.0.0.0/0', '::/0'] }, ''), false)
})

test('a client that was gone before its address was known is refused by every list', () => {
  for (const options of [{ allow: ['unix', '0.0.0.0/0', '::/0'] }, { deny: ['192.0.2.1'] }])
    assert.equal(passes(options, 'unknown'), false)
})

const SEND_AND_RESET = `
  const socket = require('node:net').connect(Number(process.argv[1]), '127.0.0.1', () =>
    socket.write('POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 0\\r\\n\\r\\n', () => socket.resetAndDestroy()))`

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: a client is refused with 403, by the address that trusted proxies tell`, async () => {
    await using backend = await mockBackend()
    const guard = addresses({ deny: ['203.0.113.0/24'] })
    await using front = await run({ ...through(backend, [guard]), trustedProxies: ['loopback'] })
    const refused = await fetch(front.url, { headers: { 'X-Forwarded-For': '203.0.113.9' } })
    assert.equal(refused.status, 403)
    assert.equal(refused.headers.get('cache-control'), 'no-store')
    assert.equal(await refused.text(), '403 Forbidden\n')
    assert.equal((await front.nextRecord()).outcome, 'local')
    const passed = await fetch(front.url, { headers: { 'X-Forwarded-For': '203.0.113.9, 198.51.100.1' } })
    assert.equal(await passed.text(), 'GET /')
    assert.equal(backend.requests.length, 1)
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: whoever is not behind a trusted proxy has the address of its connection`, async () => {
    await using backend = await mockBackend()
    await using front = await run(through(backend, [addresses({ allow: ['10.0.0.0/8'] })]))
    assert.equal((await fetch(front.url, { headers: { 'X-Forwarded-For': '10.0.0.1' } })).status, 403)
    assert.equal(backend.requests.length, 0)
  })

  test(`${name}: WebSocket handshakes are guarded`, async () => {
    await using backend = await echoBackend()
    await using front = await run(through(backend, [addresses({ deny: ['loopback'] })]))
    const socket = new WebSocket(front.url.replace('http', 'ws'))
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, http.IncomingMessage]
    assert.equal(response.statusCode, 403)
  })

  test(`${name}: a client cannot hide its address by a reset`, {
    skip: inHttp2(name, 'the address is that of the connection, which stays'),
  }, async () => {
    await using backend = await mockBackend()
    await using front = await run(through(backend, [addresses({ deny: ['loopback'] })]))
    // This process does not look while the other one connects, sends and resets.
    const { status } = spawnSync(process.execPath, ['-e', SEND_AND_RESET, String(front.port)])
    assert.equal(status, 0)
    const record = await front.nextRecord()
    assert.deepEqual([record.method, record.clientAddress, record.attempts], ['POST', 'unknown', 0])
  })
}

test('a client on a unix socket passes if unix is listed', async () => {
  await using backend = await mockBackend()
  for (const [allow, status] of [
    [['unix'], 200],
    [['loopback'], 403],
  ] as const) {
    const proxy = createProxy({ target: backend.url, routes: [{ interceptors: [addresses({ allow })] }] })
    const server = http.createServer(proxy.web)
    const path = join(tmpdir(), `heddle-addresses-${process.pid}-${status}`)
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const { text } = await converse(path, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.ok(text.startsWith(`HTTP/1.1 ${status} `), text)
    await proxy.close()
    server.close()
  }
})

test('wrong options are refused at once', async () => {
  const wrong: [unknown, RegExp][] = [
    [undefined, /addresses: the options are missing; give an object/],
    [{}, /addresses: give allow, deny or both, such as allow: \['private'\]/],
    [{ allow: ['10.0.0.0/8'], dney: ['10.0.0.1'] }, /addresses: there is no option dney; allowed: allow, deny/],
    [{ allow: '10.0.0.0/8' }, /addresses: allow is "10\.0\.0\.0\/8"; give a list of strings/],
    [{ deny: [7] }, /addresses: deny is \[7\]; give a list of strings/],
    [{ allow: [] }, /addresses: allow is \[\]; give an address at least, or leave the option out/],
    [{ deny: ['10.0.0.0/33'] }, /addresses: deny: "10\.0\.0\.0\/33" is neither an address nor a CIDR range; use/],
    [{ allow: ['example.org'] }, /addresses: allow: "example\.org" is neither an address nor a CIDR range/],
  ]
  for (const [options, message] of wrong) {
    assert.throws(
      () => addresses(options as AddressesOptions),
      (error: unknown) => error instanceof TypeError && message.test(error.message),
      String(message),
    )
  }
})
