import assert from 'node:assert/strict'
import http from 'node:http'
import { isIP } from 'node:net'
import { after, before, test } from 'node:test'
import { parseAddress } from '../../src/headers/address.ts'
import { clientAddressOf } from '../../src/headers/client-address.ts'
import { trustMatcher } from '../../src/headers/trust.ts'
import { createProxy, type ExchangeRecord, type Proxy } from '../../src/index.ts'
import { type MockBackend, mockBackend } from '../../src/testing/mock-backend.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { caseCount, FakeSocket, inBatches, seed } from './mutator.ts'

const ADDRESSES = [
  ...[
    '127.0.0.1',
    '10.1.2.3:4711',
    '::1',
    '[::1]:80',
    '"[2001:db8::1]:80"',
    '::ffff:10.0.0.1',
    '::1%-',
    'fe80::1%eth0',
  ],
  ...['fe80::1%25wan-0', 'unknown', '_hidden', 'unix:', '0:0:0:0:0:0:0:1', '::1.2.3.4', '64:ff9b::192.0.2.33', '1::%1'],
  ...['for=192.0.2.43', 'for="[2001:db8::17]:4711";by=203.0.113.43;proto=https', '::', '255.255.255.255', '0.0.0.0'],
]
const PIECES = [
  '%',
  '%-',
  '%.',
  ':',
  '::',
  '[',
  ']',
  '"',
  ',',
  ', ',
  '.',
  '0',
  '1',
  'f',
  'ffff',
  ';',
  '=',
  ' ',
  '\t',
  '\xff',
  '-',
  '/8',
]
const NAMES = ['X-Forwarded-For', 'Forwarded', 'X-Real-IP', 'X-Forwarded-Host', 'X-Forwarded-Port', 'X-Forwarded-Proto']

/** Lists of addresses that somebody has broken: always the same for the same seed. */
function lists(from: number): { next(): string; below(count: number): number } {
  const random = seededRandom(from)
  const below = (count: number): number => Math.floor(random() * count)
  const any = (list: readonly string[]): string => list[below(list.length)] as string
  const one = (): string => {
    let text = any(ADDRESSES)
    for (let left = below(4); left > 0; left--) {
      const at = below(text.length + 1)
      const piece = below(8) === 0 ? String.fromCharCode(0x21 + below(94)) : any(PIECES)
      text = text.slice(0, at) + (below(4) === 0 ? '' : piece) + text.slice(at + below(3))
    }
    return text
  }
  return { below, next: () => Array.from({ length: 1 + below(4) }, one).join(below(3) === 0 ? ',' : ', ') }
}

test('whatever stands for an address: it is read or not, and nothing throws', (t) => {
  const count = caseCount(20_000)
  t.diagnostic(`FUZZ_SEED=${seed} FUZZ_CASES=${count}`)
  const { next } = lists(seed)
  const matchers = [['loopback'], ['10.0.0.0/8', '::/0'], ['0.0.0.0/0', '::/0'], ['unix', '::1']].map(trustMatcher)
  const peer = { address: '', localPort: 0, isSecure: false, isTrusted: true }
  let read = 0
  for (let i = 0; i < count; i++) {
    const list = next()
    for (const text of list.split(',')) {
      const address = parseAddress(text)
      if (address === null) continue
      read++
      assert.notEqual(isIP(address), 0, JSON.stringify(text))
      assert.equal(parseAddress(address), address)
    }
    for (const isTrusted of matchers) {
      for (const text of list.split(',')) assert.equal(typeof isTrusted(text), 'boolean')
      const client = clientAddressOf(peer, list, isTrusted)
      assert.ok(client === '' || isIP(client) !== 0, JSON.stringify(list))
    }
  }
  assert.ok(read > count / 2, `${read} read`)
})

let backend: MockBackend
let proxy: Proxy
const server = http.createServer()
const records: ExchangeRecord[] = []
before(async () => {
  backend = await mockBackend()
  proxy = createProxy({
    target: backend.url,
    trustedProxies: ['unix', 'loopback', '10.0.0.0/8', '::/0'],
    accessLog: { format: 'json', write: () => {} },
  })
  proxy.on('finish', (_, record) => records.push(record))
  server.on('request', proxy.web)
})
after(async () => {
  await proxy.close()
  await backend.close()
})

test('whatever a trusted hop says of the client: each request has its response, and its record an address or none', async (t) => {
  const count = caseCount(1000)
  t.diagnostic(`FUZZ_SEED=${seed} FUZZ_CASES=${count}`)
  const { next, below } = lists(seed + 1)
  const begun = records.length
  await inBatches(
    count,
    () => {
      const socket = new FakeSocket()
      server.emit('connection', socket)
      const lines = Array.from({ length: 1 + below(3) }, () => `${NAMES[below(NAMES.length)]}: ${next().trim()}\r\n`)
      // It ends, and is recorded, before a backend is asked.
      const text = `TRACE / HTTP/1.1\r\nHost: a\r\n${lines.join('')}\r\n`
      socket.push(Buffer.from(text, 'latin1'))
      return { socket, text }
    },
    ({ socket, text }) => {
      assert.match(socket.written, /^HTTP\/1\.1 405 /, JSON.stringify(text))
      socket.destroy()
    },
  )
  assert.equal(records.length - begun, count)
  for (const { clientAddress } of records) assert.ok(clientAddress === '' || isIP(clientAddress) !== 0, clientAddress)
  assert.ok(records.some(({ clientAddress }) => clientAddress !== ''))
})
