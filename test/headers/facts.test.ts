import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type IncomingHttpHeaders } from 'node:http'
import { test } from 'node:test'
import {
  CONNECTION_BOUND,
  classify,
  FIRST_ONLY,
  FORWARDING,
  FRAMING,
  FROM_REQUESTS,
  FROM_RESPONSES,
  HEADER_FACTS,
  IDENTITY,
  LOOKALIKE,
  NAME,
  NO_TRAILER,
  RESERVED,
  WRITTEN,
} from '../../src/headers/facts.ts'
import { type Framing, responseFraming } from '../../src/http1/framing.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { converse } from '../support/raw-client.ts'
import { listening } from '../support/running-proxy.ts'

const TABLE = new Map(HEADER_FACTS)
const TCHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
const random = seededRandom(19)

/** {@link classify}, the slow way. */
function lookUp(name: string): number {
  const lower = name.toLowerCase()
  const plain = lower.replace(/[^a-z0-9]/g, '-')
  const family = plain.startsWith('x-forwarded-') ? TABLE.get('x-real-ip') : undefined
  const facts = TABLE.get(plain) ?? family ?? 0
  if (facts === 0 || plain === lower) return facts
  return LOOKALIKE | (facts & (FORWARDING | NO_TRAILER)) | ((facts & (FRAMING | IDENTITY)) === 0 ? 0 : FROM_REQUESTS)
}

function inRandomCase(name: string): string {
  return Array.from(name, (char) => (random() < 0.5 ? char : char.toUpperCase())).join('')
}

function randomToken(): string {
  const length = 1 + Math.floor(random() * 30)
  return Array.from({ length }, () => TCHARS[Math.floor(random() * TCHARS.length)]).join('')
}

test('every name is unique, in lower case, with its own number', () => {
  const names = HEADER_FACTS.map(([name]) => name)
  assert.equal(new Set(names).size, names.length)
  for (const name of names) assert.match(name, /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/)
  const numbers = HEADER_FACTS.map(([, facts]) => facts & NAME).filter((number) => number !== 0)
  assert.equal(new Set(numbers).size, numbers.length)
  for (const [name, facts] of HEADER_FACTS) assert.ok(facts !== 0 && (facts & LOOKALIKE) === 0, name)
})

test('each name is found in any case, but not longer or shorter ones', () => {
  for (const [name, facts] of HEADER_FACTS) {
    for (let i = 0; i < 20; i++) assert.equal(classify(inRandomCase(name)), facts, name)
    for (const other of [`${name}s`, `x${name}`, name.slice(1), name.slice(0, -1)])
      assert.equal(classify(other), lookUp(other), other)
  }
})

test('X-Forwarded-* headers are found by their prefix', () => {
  const facts = TABLE.get('x-real-ip') as number
  for (const name of [
    'X-Forwarded-Prefix',
    'x-forwarded-client-cert',
    `X-FORWARDED-${'x'.repeat(500)}`,
    'x-forwarded-',
  ])
    assert.equal(classify(name), facts, name)
  for (const name of ['X-Forwardedfor', 'Y-Forwarded-For-All', 'X-Forward-Prefixes', 'X-Frame-Options-Are']) {
    assert.equal(classify(name), 0, name)
  }
})

test('100,000 random tokens have no facts', () => {
  for (let i = 0; i < 100_000; i++) {
    const token = randomToken()
    const facts = classify(token)
    assert.equal(facts, lookUp(token), token)
    assert.ok(facts === 0 || TABLE.has(token.toLowerCase()), token)
  }
})

test('a known name with a changed character is another name', () => {
  const names = [...HEADER_FACTS.map(([name]) => name), 'x-forwarded-prefix', 'x-forwarded-a-b']
  for (let i = 0; i < 50_000; i++) {
    const name = inRandomCase(names[i % names.length] as string)
    const at = Math.floor(random() * name.length)
    const changed = name.slice(0, at) + TCHARS[Math.floor(random() * TCHARS.length)] + name.slice(at + 1)
    assert.equal(classify(changed), lookUp(changed), changed)
  }
})

test('invalid names have no facts', () => {
  for (const text of ['', '-', '\u212aeep-alive', 'con\u0101', 'x-forwarded-f\u00f6r', 'connection\0', 'h\u4f4fst'])
    assert.equal(classify(text) & ~(LOOKALIKE | FORWARDING | NO_TRAILER), 0, text)
})

test('a CGI look-alike has no number and only few facts', () => {
  for (const [name, expected] of [
    ['X_Forwarded_For', LOOKALIKE | FORWARDING | NO_TRAILER],
    ['x.forwarded-proto', LOOKALIKE | FORWARDING | NO_TRAILER],
    ['X-Forwarded_Prefix', LOOKALIKE | FORWARDING | NO_TRAILER],
    ['X_FORWARDED-PREFIX', LOOKALIKE | FORWARDING | NO_TRAILER],
    ['X_Real_IP', LOOKALIKE | FORWARDING | NO_TRAILER],
    ['Content_Length', LOOKALIKE | FROM_REQUESTS | NO_TRAILER],
    ['transfer~encoding', LOOKALIKE | FROM_REQUESTS | NO_TRAILER],
    ['Set_Cookie', LOOKALIKE | NO_TRAILER],
    ['Keep_Alive', LOOKALIKE | NO_TRAILER],
    ['User_Agent', LOOKALIKE],
  ] as const) {
    assert.equal(classify(name), expected, name)
  }
})

test('some facts imply others', () => {
  for (const [name, facts] of HEADER_FACTS) {
    const implies = (one: number, other: number): void =>
      assert.ok((facts & one) === 0 || (facts & other) === other, name)
    // What a head may not say, or only to us, a trailer may not either.
    implies(FROM_REQUESTS, NO_TRAILER)
    implies(FROM_RESPONSES, NO_TRAILER)
    implies(FORWARDING, NO_TRAILER)
    implies(FRAMING, NO_TRAILER)
    // What is the connection's is neither passed on nor changed.
    implies(FRAMING, RESERVED)
    implies(CONNECTION_BOUND, RESERVED)
    implies(RESERVED, FROM_REQUESTS)
    implies(WRITTEN, FORWARDING)
  }
})

test('node keeps the first line of the same headers', async () => {
  const skipped = new Set(['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'expect'])
  const names = HEADER_FACTS.map(([name]) => name).filter((name) => !skipped.has(name))
  let headers: IncomingHttpHeaders = {}
  const server = http.createServer((req, res) => {
    headers = req.headers
    res.end()
  })
  const port = await listening(server)
  const lines = names.flatMap((name) => [`${name}: 1`, `${name}: 2`])
  await converse(port, ['GET / HTTP/1.1', 'Host: a', 'Connection: close', ...lines, '', ''].join('\r\n'))
  for (const name of names) assert.equal(headers[name] === '1', (classify(name) & FIRST_ONLY) !== 0, name)
  server.close()
  await once(server, 'close')
})

test('the framing headers of our parser are in the table and reserved', () => {
  // Of a 204 the length is known without any.
  const framing = (headers: string[]): Framing =>
    responseFraming('GET', 204, 1, headers, {
      bytes: 0,
      keepAlive: false,
      mayHaveStray: false,
      keepAliveSeconds: -1,
      fault: null,
    })
  const values = ['close', '5', 'chunked', 'timeout=5', 'NTLM']
  const reads = (name: string): boolean =>
    values.some((value) => JSON.stringify(framing([name, value])) !== JSON.stringify(framing([])))
  const read = HEADER_FACTS.map(([name]) => name).filter(reads)
  // The last one may bind the connection to a user, and says nothing of the body.
  assert.deepEqual(read, ['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'www-authenticate'])
  for (const name of read.slice(0, -1)) assert.ok((classify(name) & RESERVED) !== 0, name)
})
