import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { AddressLimit, networkOf } from '../../src/fronts/socket/address-limit.ts'
import {
  createProxy,
  type ExchangeRecord,
  type ListenOptions,
  type ProxyError,
  type ProxyOptions,
  workerThreads,
} from '../../src/index.ts'
import type { RecordingLogger } from '../../src/testing/index.ts'
import { manualClock, mockBackend, neverAnswer, recordingLogger } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { rounds, runInServer, runProxy } from '../support/running-proxy.ts'
import { without } from '../threads/threaded.ts'

const skipThreads = await without()

type Line = Pick<ExchangeRecord, 'method' | 'target' | 'status' | 'errorCode' | 'outcome' | 'clientAddress' | 'id'>

interface Told extends AsyncDisposable {
  readonly port: number
  readonly lines: Line[]
  readonly errors: readonly (readonly [code: string, hasExchange: boolean])[]
  readonly finished: readonly ExchangeRecord[]
  readonly logger: RecordingLogger
}

async function watched(options: ProxyOptions, listen: ListenOptions = {}): Promise<Told> {
  const lines: Line[] = []
  const errors: [string, boolean][] = []
  const finished: ExchangeRecord[] = []
  const logger = recordingLogger()
  const accessLog = { format: 'json', write: (line: string) => void lines.push(JSON.parse(line)) } as const
  const proxy = createProxy({ drainTimeoutMs: 100, logger, accessLog, ...options })
  proxy.on('error', (error: ProxyError, exchange) => errors.push([error.code, exchange !== null]))
  proxy.on('finish', (_exchange, record) => finished.push(record))
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', ...listen })
  return { port, lines, errors, finished, logger, [Symbol.asyncDispose]: () => proxy.close() }
}

const BAD = 'ERR_PROXY_BAD_REQUEST'
const LARGE = 'ERR_PROXY_HEAD_TOO_LARGE'
const LATE = 'ERR_PROXY_CLIENT_TIMEOUT'
const COOKIE = `Cookie: a=${'x'.repeat(20_000)}`
const KEEP = 'GET http://a/ok HTTP/1.1\r\nHost: a\r\n\r\n'

/** What comes, the status, the code, and what of the request is known. */
const REFUSALS: readonly (readonly [what: string, bytes: string, status: number, code: string, line: string])[] = [
  ['a head that is too large', `GET /cookie HTTP/1.1\r\nHost: x\r\n${COOKIE}\r\n\r\n`, 431, LARGE, 'GET /cookie'],
  ['a bare CR in a header', 'GET /cr HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n', 400, BAD, 'GET /cr'],
  [
    'both framings',
    'POST /both HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
    BAD,
    'POST /both',
  ],
  ['no HTTP at all', 'NONSENSE\r\n\r\n', 400, BAD, '- -'],
  ['a TLS handshake', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, BAD, '- -'],
  ['an unknown method', 'FETCH /odd HTTP/1.1\r\nHost: x\r\n\r\n', 400, BAD, 'FETCH /odd'],
  ['a head that does not end', 'GET /late HTTP/1.1\r\nHost: x\r\n', 408, LATE, 'GET /late'],
  ['a request line that does not end', 'GET /late', 408, LATE, '- -'],
  ['nothing', '', 408, LATE, '- -'],
  ['CONNECT', 'CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n', 400, BAD, 'CONNECT x:443'],
  ['another expectation', 'GET /e HTTP/1.1\r\nHost: x\r\nExpect: x\r\nConnection: close\r\n\r\n', 417, BAD, 'GET /e'],
  ['a second head that is bad', `${KEEP}GET /cr HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n`, 400, BAD, '- -'],
  ['a head behind another that does not end', `${KEEP}GET /late HTTP/1.1\r\nHost:`, 408, LATE, '- -'],
]

for (const [what, bytes, status, code, line] of REFUSALS) {
  test(`${what}: one line in the access log, one diagnostic, one error event`, async () => {
    await using backend = await mockBackend({ body: 'ok' })
    await using told = await watched({ target: backend.url, limits: { headTimeoutMs: 100 } })
    const { text } = await converse(told.port, bytes)
    assert.match(text, new RegExp(`HTTP/1.1 ${status} `))
    const before = bytes.startsWith(KEEP) ? 1 : 0
    assert.equal(told.lines.length, 1 + before)
    // What is refused is told at once, also before the answer to what came before it.
    const record = told.lines.find(({ id }) => id === 0) as Line
    assert.equal(`${record.method} ${record.target}`, line)
    assert.deepEqual(
      [record.status, record.errorCode, record.outcome, record.clientAddress, record.id],
      [status, code, 'local', '127.0.0.1', 0],
    )
    assert.deepEqual(told.errors, [[code, false]])
    assert.equal(told.finished.length, before)
    const entries = told.logger.entries.filter(({ fields }) => fields.code === code)
    assert.deepEqual(
      entries.map(({ level, fields }) => [level, fields.client]),
      [['info', '127.0.0.1']],
    )
  })
}

for (const target of ['/up', 'http://a/up']) {
  for (const [what, rest] of [
    ['bad chunks', 'Transfer-Encoding: chunked\r\n\r\nzz\r\n'],
    ['chunk extensions without end', `Transfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(20_000)}\r\n`],
  ]) {
    test(`${what} in the body to ${target} leave the line of their exchange, and no other`, async () => {
      await using backend = await mockBackend(neverAnswer)
      await using told = await watched({ target: backend.url })
      const client = rawClient(told.port)
      client.write(`POST ${target} HTTP/1.1\r\nHost: a\r\n${rest}`)
      await client.ended
      while (told.finished.length === 0) await new Promise((resolve) => setImmediate(resolve))
      assert.deepEqual(
        told.lines.map((line) => [line.method, line.id]),
        [['POST', 1]],
      )
      assert.equal(told.logger.entries.filter(({ level, fields }) => level === 'info' && fields.code === BAD).length, 1)
    })
  }
}

test('what an exchange refuses is told at info as well', async () => {
  await using told = await watched({ target: 'http://127.0.0.1:1', limits: { maxTargetBytes: 10 } })
  await converse(told.port, 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n')
  await converse(told.port, 'GET /12345678901 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.deepEqual(
    told.lines.map((line) => line.status),
    [400, 414],
  )
  const entries = told.logger.entries.filter(({ fields }) => fields.code !== undefined)
  assert.deepEqual(
    entries.map(({ level, fields }) => [level, fields.status]),
    [
      ['info', 400],
      ['info', 414],
    ],
  )
})

test('an idle connection that is closed leaves nothing', async () => {
  const clock = manualClock()
  await using backend = await mockBackend({ body: 'ok' })
  await using told = await watched({ target: backend.url, clock })
  const client = rawClient(told.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('ok')
  while (told.finished.length === 0) await new Promise((resolve) => setImmediate(resolve))
  clock.advance(67_000)
  assert.equal(await client.ended, 'end')
  assert.equal(told.lines.length, 1)
  assert.deepEqual(told.errors, [])
})

test('a client that resets its connection is no refusal', async () => {
  await using told = await watched({ target: 'http://127.0.0.1:1' })
  const client = rawClient(told.port)
  client.write('GET /half HTTP/1.1\r\n')
  await once(client.socket, 'connect')
  await rounds()
  client.socket.resetAndDestroy()
  await client.ended
  await converse(told.port, 'NONSENSE\r\n\r\n')
  assert.equal(told.lines.length, 1)
})

test('limits.maxConnections: one more leaves a line without a status', async () => {
  await using backend = await mockBackend()
  await using told = await watched({ target: backend.url, limits: { maxConnections: 1 } })
  const first = rawClient(told.port)
  await once(first.socket, 'connect')
  assert.equal((await converse(told.port, '')).text, '')
  const [line] = told.lines
  assert.equal(told.lines.length, 1)
  assert.deepEqual(
    [line?.method, line?.target, line?.status, line?.errorCode, line?.clientAddress],
    ['-', '-', 0, 'ERR_PROXY_CONNECTION_LIMIT', '127.0.0.1'],
  )
  assert.deepEqual(told.errors, [['ERR_PROXY_CONNECTION_LIMIT', false]])
  assert.equal(
    told.logger.messages('info').filter((message) => message.includes('limits.maxConnections is 1')).length,
    1,
  )
})

test('a flood of refusals is ten lines a second at info; the next one says how many were left out', async () => {
  const clock = manualClock()
  await using told = await watched({ target: 'http://127.0.0.1:1', clock })
  const refuse = async (): Promise<void> => {
    const client = rawClient(told.port)
    client.write('NONSENSE\r\n\r\n')
    await client.ended
  }
  for (let i = 0; i < 25; i++) await refuse()
  const atInfo = () => told.logger.entries.filter(({ level, fields }) => level === 'info' && fields.code === BAD)
  assert.equal(atInfo().length, 10)
  clock.advance(1000)
  await refuse()
  assert.equal(atInfo().length, 11)
  assert.equal(atInfo().at(-1)?.fields.skipped, 15)
  assert.equal(told.lines.length, 26)
})

test('threads tell it, too', { skip: skipThreads }, async () => {
  await using told = await watched({ target: 'http://127.0.0.1:1', executor: workerThreads({ threads: 2 }) })
  await converse(told.port, 'NONSENSE\r\n\r\n')
  while (told.lines.length + told.errors.length < 2) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual([told.lines[0]?.status, told.errors[0]], [400, [BAD, false]])
})

test('an access log that throws at a refusal hurts nobody', async () => {
  const write = (): void => {
    throw new Error('the disk is full')
  }
  await using told = await watched({ target: 'http://127.0.0.1:1', accessLog: { format: 'json', write } })
  assert.match((await converse(told.port, 'NONSENSE\r\n\r\n')).text, /400 Bad Request/)
  assert.deepEqual(told.logger.messages('error'), ['the access log threw: the disk is full'])
})

test("what an application's server refuses is its own to tell", async () => {
  const lines: string[] = []
  const accessLog = { format: 'json', write: (line: string) => void lines.push(line) } as const
  await using front = await runInServer({ target: 'http://127.0.0.1:1', accessLog })
  assert.match((await converse(front.port, 'NONSENSE\r\n\r\n')).text, /400 Bad Request/)
  assert.deepEqual([lines, front.errors], [[], []])
})

for (const own of [{}, { tls: { key, cert: certificate } }]) {
  const name = 'tls' in own ? ', with TLS' : ''

  test(`limits.maxConnectionsPerAddress: one more is closed at once, and a place becomes free${name}`, async () => {
    await using backend = await mockBackend({ body: 'ok' })
    await using told = await watched({ target: backend.url, limits: { maxConnectionsPerAddress: 2 } }, own)
    const from = (localAddress: string): net.Socket => {
      const to = { port: told.port, host: '127.0.0.1', localAddress }
      const socket = 'tls' in own ? tls.connect({ ...to, ca: certificate, servername: 'localhost' }) : net.connect(to)
      return socket.on('error', () => {}).resume()
    }
    const isOpen = (socket: net.Socket): Promise<boolean> =>
      new Promise((resolve) => {
        socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        socket.once('data', () => resolve(true)).once('close', () => resolve(false))
      })
    const [first, second, third, other] = ['127.0.0.1', '127.0.0.1', '127.0.0.1', '127.0.0.2'].map(from)
    const all = [first, second, third, other] as net.Socket[]
    const open = await Promise.all(all.map(isOpen))
    assert.equal(open.filter((one) => one).length, 3)
    assert.equal(open[3], true)
    assert.equal(told.logger.messages('debug').filter((one) => one.includes('maxConnectionsPerAddress')).length, 1)
    for (const socket of all) socket.destroy()
    let isFree = false
    while (!isFree) {
      const again = from('127.0.0.1')
      isFree = await isOpen(again)
      again.destroy()
    }
  })
}

test('limits.maxConnectionsPerAddress exempts trusted proxies, and is off by default', async () => {
  for (const options of [{ limits: { maxConnectionsPerAddress: 1 }, trustedProxies: ['loopback'] }, {}]) {
    await using backend = await mockBackend(Array(9).fill({ body: 'ok' }))
    await using front = await runProxy({ target: backend.url, ...options })
    const clients = Array.from({ length: 3 }, () => rawClient(front.port))
    for (const client of clients) client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    for (const client of clients) await client.until('ok')
  }
})

test('an IPv6 client is its /64 network', () => {
  const cases = [
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:DB8::0001', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['1::4:5:6:7:8', '1:0:0:4::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['1:2:3::', '1:2:3:0::/64'],
  ]
  for (const [address, network] of cases) assert.equal(networkOf(address as string), network)
})

test('addresses that have gone are forgotten', () => {
  const peers = new Map<net.Socket, string>()
  const limit = new AddressLimit(
    1,
    (socket) => ({ address: peers.get(socket) ?? '', localPort: 1, isSecure: false, isTrusted: false }),
    recordingLogger(),
  )
  const sockets = ['192.0.2.1', '192.0.2.1', '192.0.2.2'].map((address) => {
    const socket = new net.Socket()
    peers.set(socket, address)
    return socket
  })
  assert.deepEqual(
    sockets.map((socket) => limit.takes(socket)),
    [true, false, true],
  )
  sockets[0]?.emit('close')
  const next = new net.Socket()
  peers.set(next, '192.0.2.1')
  assert.equal(limit.takes(next), true)
})
