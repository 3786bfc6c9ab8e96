import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ExchangeRecord } from '../../src/model/record.ts'
import { recordFormatter } from '../../src/observers/record-formatter.ts'

const RECORD: ExchangeRecord = {
  thread: 3,
  id: 7,
  epochMs: Date.UTC(2000, 9, 10, 13, 55, 36, 42),
  clientAddress: '127.0.0.1',
  method: 'GET',
  target: '/apache_pb.gif?a=b',
  httpVersion: '1.0',
  host: 'example.com',
  status: 200,
  requestBytes: 0,
  responseBytes: 2326,
  firstByteMs: 1.23456,
  totalMs: 2.5,
  backendMs: 2,
  backend: 'http://10.0.0.1:80',
  attempts: 1,
  group: 'default',
  outcome: 'answered',
  errorCode: null,
  grpcStatus: 14,
  referer: 'http://www.example.com/start.html',
  userAgent: 'Mozilla/4.08 [en] (Win98; I ;Nav)',
  user: 'frank',
}

const COMMON = '127.0.0.1 - frank [10/Oct/2000:13:55:36 +0000] "GET /apache_pb.gif?a=b HTTP/1.0" 200 2326'

test('common is the NCSA format', () => {
  assert.equal(recordFormatter('common')(RECORD), COMMON)
})

test('combined adds referer and user agent', () => {
  assert.equal(
    recordFormatter('combined')(RECORD),
    `${COMMON} "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"`,
  )
})

test('unknown values are dashes', () => {
  const bare = {
    ...RECORD,
    user: '',
    clientAddress: '',
    referer: '',
    userAgent: '',
    responseBytes: 0,
    status: 499,
  }
  assert.equal(
    recordFormatter('combined')(bare),
    '- - - [10/Oct/2000:13:55:36 +0000] "GET /apache_pb.gif?a=b HTTP/1.0" 499 - "-" "-"',
  )
})

test('json has every field under its own name', () => {
  const { epochMs, firstByteMs: _, ...rest } = RECORD
  const line = JSON.parse(recordFormatter('json')(RECORD))
  assert.deepEqual(line, { time: new Date(epochMs).toISOString(), ...rest, firstByteMs: 1.235 })
})

test('json writes null for missing values', () => {
  const line = JSON.parse(recordFormatter('json')({ ...RECORD, backend: null, firstByteMs: -1, totalMs: Number.NaN }))
  assert.deepEqual([line.backend, line.firstByteMs, line.totalMs], [null, -1, null])
})

test('the date follows the clock, forwards and backwards', () => {
  const format = recordFormatter('common')
  const json = recordFormatter('json')
  for (const ms of [0, 999, 1000, 86_400_000, 999, Date.UTC(2024, 1, 29, 23, 59, 59, 999), -1]) {
    const date = new Date(ms)
    const line = format({ ...RECORD, epochMs: ms })
    const inLine = /\[(\d\d)\/(\w{3})\/(\d{4}):(\S+) \+0000\]/.exec(line)?.slice(1) as string[]
    const [day, month, year, clock] = inLine
    assert.equal(Date.parse(`${day} ${month} ${year} ${clock} GMT`), Math.floor(ms / 1000) * 1000)
    assert.equal(JSON.parse(json({ ...RECORD, epochMs: ms })).time, date.toISOString())
  }
})

test('a client cannot forge a line or a field', () => {
  const evil = '" 200 1\r\n9.9.9.9 - - \\ \x1b[2J\x00\x7f\xe9'
  const line = recordFormatter('combined')({ ...RECORD, target: evil, referer: evil, userAgent: evil, user: 'a b"' })
  const escaped = String.raw`\" 200 1\x0D\x0A9.9.9.9 - - \\ \x1B[2J\x00\x7F\xE9`
  assert.equal(
    line,
    `127.0.0.1 - a\\x20b\\" [10/Oct/2000:13:55:36 +0000] "GET ${escaped} HTTP/1.0" 200 2326 "${escaped}" "${escaped}"`,
  )
})

test('characters beyond latin1 are written as UTF-8 bytes', () => {
  assert.match(recordFormatter('common')({ ...RECORD, user: '€😀' }), / \\xE2\\x82\\xAC\\xF0\\x9F\\x98\\x80 /)
})

test('any record gives a line of ASCII with its fields, and json is lossless', () => {
  // All of latin1 and a little more, and halves of surrogate pairs; fast-check's own `binary` takes 5 s to set up.
  const codes = fc.oneof(fc.integer({ min: 0, max: 0x2ff }), fc.integer({ min: 0xd800, max: 0xdfff }))
  const text = fc.string({ unit: codes.map((code) => String.fromCharCode(code)), maxLength: 40 })
  const common = recordFormatter('combined')
  const json = recordFormatter('json')
  const inQuotes = String.raw`"(?:[^"\\]|\\.)*"`
  const shape = new RegExp(String.raw`^\S+ - \S+ \[[^\]]+\] ${inQuotes} \d+ (?:\d+|-) ${inQuotes} ${inQuotes}$`)
  fc.assert(
    fc.property(text, text, text, text, (target, referer, userAgent, user) => {
      const record = { ...RECORD, target, referer, userAgent, user }
      assert.match(common(record), shape)
      assert.match(common(record), /^[ -~]+$/)
      assert.match(json(record), /^[ -~]+$/)
      const { target: t, referer: r, userAgent: ua, user: u } = JSON.parse(json(record))
      assert.deepEqual([t, r, ua, u], [target, referer, userAgent, user])
    }),
  )
})

test('json: times have microseconds', () => {
  const json = recordFormatter('json')
  const times = fc.oneof(
    fc.double({ min: -1e7, max: 1e12, noNaN: true }),
    fc.integer({ min: 0, max: 5_000_000 }).map((us) => us / 1000),
  )
  fc.assert(
    fc.property(times, (totalMs) => {
      const text = /"totalMs":([^,]+),/.exec(json({ ...RECORD, totalMs }))?.[1]
      assert.equal(text, String(Math.round(totalMs * 1000) / 1000 || 0))
    }),
  )
})
