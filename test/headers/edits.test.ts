import assert from 'node:assert/strict'
import http, { type IncomingMessage } from 'node:http'
import { after, before, test } from 'node:test'
import { type HeaderEdits, headerEdits } from '../../src/headers/edits.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { converse } from '../support/raw-client.ts'
import { listening } from '../support/running-proxy.ts'

const NAMES = [
  ...['Accept', 'Cookie', 'Set-Cookie', 'X-One', 'x-one', 'X-ONE', 'User-Agent', 'Authorization', 'Referer', 'ETag'],
  ...['From', 'Date', 'Server', 'Age', 'Expires', 'Location', 'Retry-After', 'Last-Modified', 'If-Modified-Since'],
  ...[
    'If-Unmodified-Since',
    'Proxy-Authorization',
    'Content-Type',
    'Max-Forwards',
    'X-Forwarded-For',
    'Origin',
    'Vary',
  ],
  ...['constructor', 'toString', '__proto__', '__proto__', 'hasOwnProperty', '12', '7', 'Via', 'Forwarded', 'a'],
]

let take: (req: IncomingMessage) => void = () => {}
const servers = [false, true].map((joinDuplicateHeaders) =>
  http.createServer({ joinDuplicateHeaders }, (req, res) => {
    take(req)
    res.end()
  }),
)
const ports: number[] = []
before(async () => {
  for (const server of servers) ports.push(await listening(server))
})
after(() => {
  for (const server of servers) server.close()
})

/** What a server of node has read. */
async function received(lines: readonly string[], joins = false): Promise<IncomingMessage> {
  const got = new Promise<IncomingMessage>((resolve) => {
    take = resolve
  })
  const text = ['GET / HTTP/1.1', 'Host: a', 'Connection: close', ...lines, '', ''].join('\r\n')
  await converse(ports[joins ? 1 : 0] as number, text)
  return got
}

/** The edits as data. */
function plain(edits: HeaderEdits | null): Record<string, readonly string[]> | null {
  return edits === null
    ? null
    : Object.fromEntries(Array.from(edits.changed.values(), ({ name, values }) => [name, values]))
}

test('headers as node builds them are no change, even if repeated', async () => {
  const random = seededRandom(7)
  for (let i = 0; i < 150; i++) {
    const lines = Array.from({ length: Math.floor(random() * 12) }, (_, n) => {
      return `${NAMES[Math.floor(random() * NAMES.length)]}: ${random() < 0.2 ? '' : n}`
    })
    for (const joins of [false, true]) {
      assert.equal(headerEdits(await received(lines, joins)), null, JSON.stringify(lines))
    }
  }
})

test('exactly the changes are found', async () => {
  const lines = ['X-One: 1', 'X-Two: 2', 'x-two: 3', 'Cookie: a', 'Cookie: b', 'Set-Cookie: c', 'User-Agent: u', '7: s']
  for (const [change, expected] of [
    [(h) => (h['x-one'] = 'new'), { 'X-One': ['new'] }],
    [(h) => (h['x-two'] = '2'), { 'X-Two': ['2'] }],
    [(h) => (h['x-two'] = ['2', '3']), { 'X-Two': ['2', '3'] }],
    [(h) => delete h['x-one'], { 'X-One': [] }],
    [(h) => (h['x-one'] = undefined), { 'X-One': [] }],
    [(h) => (h['x-one'] = null), { 'X-One': [] }],
    [(h) => (h['x-one'] = []), { 'X-One': [] }],
    [(h) => delete h.cookie, { Cookie: [] }],
    [(h) => (h.cookie = 'a; b'), null],
    [(h) => (h['set-cookie'] as string[]).push('d'), { 'Set-Cookie': ['c', 'd'] }],
    [(h) => (h['set-cookie'] = ['c']), null],
    [(h) => (h['x-new'] = 'n'), { 'x-new': ['n'] }],
    [(h) => (h['X-New'] = 5), { 'X-New': ['5'] }],
    [(h) => (h['X-One'] = 'new'), { 'X-One': ['new'] }],
    [(h) => (h['X-One'] = '1'), null],
    [(h) => (h['x-new'] = undefined), null],
    [(h) => (h['x-flag'] = true), { 'x-flag': ['true'] }],
    [
      (h) => Object.assign(h, { connection: 'x', 'content-length': 5, te: 'trailers', upgrade: 'foo', expect: 'x' }),
      null,
    ],
    [(h) => delete h.connection, null],
    [(h) => delete h['7'], { '7': [] }],
  ] as [(headers: Record<string, unknown>) => unknown, Record<string, readonly string[]> | null][]) {
    const req = await received(lines)
    change(req.headers)
    assert.deepEqual(plain(headerEdits(req)), expected, String(change))
    assert.equal(headerEdits(req)?.fault ?? null, null)
  }
})

test('an object in place of the headers counts, with any prototype', async () => {
  for (const prototype of [null, Object.prototype, { inherited: 'no' }]) {
    const req = await received(['X-One: 1', 'constructor: c'])
    req.headers = Object.assign(Object.create(prototype), { host: 'a', 'x-two': '2' })
    assert.deepEqual(plain(headerEdits(req)), { 'X-One': [], constructor: [], 'x-two': ['2'] })
  }
  const req = await received(['X-One: 1'])
  // As some pass on headers that they have changed: node's are below.
  req.headers = Object.assign(Object.create(req.headers), { 'x-two': '2' })
  assert.deepEqual(plain(headerEdits(req)), { 'x-two': ['2'] })
})

test('changes only in rawHeaders do not count', async () => {
  const req = await received(['X-One: 1', 'X-Two: 2'])
  req.rawHeaders.push('X-Three', '3\r\nX-Four: 4')
  req.rawHeaders[5] = 'evil'
  assert.deepEqual(plain(headerEdits(req)), { 'X-Three': [], 'X-One': ['1'] })
})

test('a line that is in both, and that node cannot have read, is a fault that names it', async () => {
  for (const [name, value] of [
    ['X-Bad', 'a\r\nb: c'],
    ['X-Bad', 'a\0'],
    ['X-Bad', 'a\u010a'],
    ['X-Bad', 7],
    ['X-Bad\r\nX-Evil', 'value'],
    ['Upgrade', 'foo\r\nb: c'],
  ] as [string, string][]) {
    for (const more of [{}, { 'x-more': '1' }]) {
      const req = await received(['X-One: 1'])
      Object.assign(req.headers, { [name.toLowerCase()]: value }, more)
      req.rawHeaders.push(name, value)
      assert.match(
        headerEdits(req)?.fault ?? '',
        /^(?:the value of )?"?(?:X-Bad|Upgrade)/,
        JSON.stringify([name, value]),
      )
    }
  }
  // A server with `insecureHTTPParser` reads it.
  const req = await received(['X-One: 1'])
  Object.assign(req.headers, { 'x-two': 'a\x01' })
  req.rawHeaders.push('X-Two', 'a\x01')
  assert.equal(headerEdits(req), null)
})

test('headers that are no plain object are a fault', async () => {
  for (const headers of [new Headers(), new Map(), [], 'x', 7, () => {}]) {
    const req = await received(['X-One: 1'])
    Object.assign(req, { headers })
    assert.match(headerEdits(req)?.fault ?? '', /plain object/)
  }
})

test('an invalid header is a fault that names it', async () => {
  for (const [name, value] of [
    ['x-bad', 'a\r\nb: c'],
    ['x-bad', 'a\0'],
    ['x-bad', 'a\u010a'],
    ['x-bad', '\x7f'],
    ['x-bad', ['good', 'a\nb']],
    ['x-bad', {}],
    ['x-bad', [['nested']]],
    ['x-bad', Symbol('x')],
    ['x-bad', () => 'x'],
    ['x bad', 'value'],
    ['x-bad\r\n', 'value'],
    ['', 'value'],
    ['x-b\u00e4d', 'value'],
    ['host', 'a b'],
    ['host', ['a', 'b']],
    ['host', ''],
  ] as [string, unknown][]) {
    const req = await received([])
    Object.assign(req.headers, { [name]: value })
    assert.match(
      headerEdits(req)?.fault ?? '',
      name === 'host' ? /host/i : /bad|""|x-b/,
      JSON.stringify([name, String(value)]),
    )
  }
})
