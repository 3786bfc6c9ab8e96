import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RequestReader } from '../../src/fronts/socket/request-reader.ts'
import { INCOMPLETE, NOT_PLAIN } from '../../src/http1/request-parser.ts'

const PEER = { address: '192.0.2.1', localPort: 80, isSecure: false, isTrusted: false }
const reader = new RequestReader({ maxHeadBytes: 1000, maxHeaders: 5, maxTargetBytes: 100 }, () => ({
  xfwd: true,
  via: '',
  pass: new Set(),
}))

function parse(text: string): number {
  const bytes = Buffer.from(text, 'latin1')
  return reader.read(bytes, 0, bytes.length, PEER)
}

/** A head with these lines after the request line. */
function withLines(...lines: string[]): string {
  return `${['GET / HTTP/1.1', ...lines].join('\r\n')}\r\n\r\n`
}

describe('plain heads', () => {
  test('a head is read to its end, names and order as they came, values without the white space around', () => {
    const head = 'POST /p/a?q=%20[1] HTTP/1.1\r\nhOst:a:80\r\nX-A: \t 1 \t\r\nx-a:2\xff\r\nX-B:\r\n\r\n'
    assert.equal(parse(`${head}body`), head.length)
    assert.equal(reader.method, 'POST')
    assert.equal(reader.target, '/p/a?q=%20[1]')
    assert.deepEqual(reader.headers, ['hOst', 'a:80', 'X-A', '1', 'x-a', '2\xff', 'X-B', ''])
    assert.equal(reader.sent.bodyBytes, null)
    assert.equal(reader.sent.saysClose, false)
  })

  test('a tab beside the transfer coding, which node reads in another way, is for node to judge', () => {
    assert.equal(parse(withLines('Host: a', 'Transfer-Encoding: chunked\t')), NOT_PLAIN)
    assert.equal(parse(withLines('Host: a', 'Transfer-Encoding:\tchunked')), NOT_PLAIN)
    const head = withLines('Host: a', 'X-A:\tb', 'Transfer-Encoding: chunked')
    assert.equal(parse(head), head.length)
  })

  test('a head is read in the middle of other bytes, and not beyond them', () => {
    const head = withLines('Host: a')
    const bytes = Buffer.from(`xx${head}GET /2`)
    assert.equal(reader.read(bytes, 2, bytes.length, PEER), head.length)
    assert.equal(reader.read(bytes, 2, 2 + head.length - 1, PEER), INCOMPLETE)
  })

  test('a later head leaves nothing of an earlier one', () => {
    parse(withLines('Host: a', 'Connection: close', 'Content-Length: 5'))
    const { headers } = reader
    parse(withLines('Host: b'))
    assert.deepEqual([reader.sent.saysClose, reader.sent.bodyBytes, reader.headers], [false, null, ['Host', 'b']])
    assert.deepEqual(headers, ['Host', 'a', 'Connection', 'close', 'Content-Length', '5'])
  })

  for (const [lines, bytes] of [
    [['Content-Length: 5'], 5],
    [['content-length: 0'], null],
    [['Content-Length: 999999999999999'], 999_999_999_999_999],
    [['Transfer-Encoding: chunked'], -1],
    [['TRANSFER-ENCODING: Chunked'], -1],
  ] as const) {
    test(`${lines}: a body of ${bytes} bytes`, () => {
      assert.ok(parse(withLines('Host: a', ...lines)) > 0)
      assert.equal(reader.sent.bodyBytes, bytes)
    })
  }

  for (const [value, saysClose] of [
    ['close', true],
    ['CLOSE', true],
    ['X-Hop , close', true],
    ['keep-alive', false],
    ['TE', false],
  ] as const) {
    test(`Connection: ${value}`, () => {
      assert.ok(parse(withLines('Host: a', `Connection: ${value}`)) > 0)
      assert.equal(reader.sent.saysClose, saysClose)
    })
  }

  for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
    test(`${method} is plain`, () => assert.ok(parse(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`) > 0))
  }
})

describe('not plain', () => {
  for (const line of [
    'get / HTTP/1.1',
    'TRACE / HTTP/1.1',
    'CONNECT a:1 HTTP/1.1',
    'GETS / HTTP/1.1',
    'GET  / HTTP/1.1',
    'GET / HTTP/1.0',
    'GET / HTTP/1.2',
    'GET / http/1.1',
    'GET / HTTP/1.1 ',
    'GET /  HTTP/1.1',
    'GET /',
    'GET a HTTP/1.1',
    'GET * HTTP/1.1',
    'GET http://a/ HTTP/1.1',
    'GET /#a HTTP/1.1',
    'GET /\\a HTTP/1.1',
    'GET /\xe4 HTTP/1.1',
    'GET /\x7f HTTP/1.1',
    'GET /\t HTTP/1.1',
    ' GET / HTTP/1.1',
    '\r\nGET / HTTP/1.1',
  ]) {
    test(JSON.stringify(line), () => assert.equal(parse(`${line}\r\nHost: a\r\n\r\n`), NOT_PLAIN))
  }

  for (const lines of [
    [],
    ['Host:'],
    ['Host: a', 'Host: a'],
    ['Host: a b'],
    ['Host: a, b'],
    ['Host: a/b'],
    ['Host: a:b'],
    ['Host: a', 'Upgrade: websocket'],
    ['Host: a', 'Connection: keep-alive, Upgrade'],
    ['Host: a', 'Proxy-Connection: keep-alive'],
    ['Host: a', 'Expect: 100-continue'],
    ['Host: a', 'Max-Forwards: 1'],
    ['Host: a', 'Content-Length: 5', 'Content-Length: 5'],
    ['Host: a', 'Content-Length: 5, 5'],
    ['Host: a', 'Content-Length:'],
    ['Host: a', 'Content-Length: -1'],
    ['Host: a', 'Content-Length: 0x1'],
    ['Host: a', 'Content-Length: 1234567890123456'],
    ['Host: a', 'Content-Length: 5', 'Transfer-Encoding: chunked'],
    ['Host: a', 'Transfer-Encoding: gzip, chunked'],
    ['Host: a', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    ['Host: a', 'Transfer-Encoding:'],
    ['Host: a', 'X : 1'],
    ['Host: a', ': 1'],
    ['Host: a', 'X'],
    ['Host: a', 'X: 1', ' 2'],
    ['Host: a', 'X: \0'],
    ['Host: a', 'X: a\rb'],
    ['Host: a', 'X: a\nb'],
    ['Host: a', 'A: 1', 'B: 2', 'C: 3', 'D: 4', 'E: 5'],
    ['Host: a', `X: ${'x'.repeat(1000)}`],
    ['Host: a', 'Content-Length: 5', 'content-length: 5'],
    ['Host: a', 'Transfer-Encoding: chunked', 'Transfer-Encoding:'],
    ['Host: a', 'Transfer-Encoding:', 'Transfer-Encoding: chunked'],
    ['Host: a', 'Connection: x', 'Connection: a, upgrade'],
  ]) {
    test(JSON.stringify(lines).slice(0, 80), () => assert.equal(parse(withLines(...lines)), NOT_PLAIN))
  }
})

test('a target past its limit is for node to judge', () => {
  assert.ok(parse(`GET /${'x'.repeat(99)} HTTP/1.1\r\nHost: a\r\n\r\n`) > 0)
  assert.equal(parse(`GET /${'x'.repeat(100)} HTTP/1.1\r\nHost: a\r\n\r\n`), NOT_PLAIN)
})

test('a head that is not plain leaves what the last one said', () => {
  parse(withLines('Host: a', 'Connection: close'))
  assert.equal(parse(withLines('Host: b', 'Upgrade: x')), NOT_PLAIN)
  assert.deepEqual([reader.sent.host, reader.headers], ['a', ['Host', 'a', 'Connection', 'close']])
})
