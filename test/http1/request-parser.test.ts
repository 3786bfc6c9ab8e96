import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ChunkedDecoder } from '../../src/http1/chunked.ts'
import {
  INCOMPLETE,
  mentionsConnection,
  mentionsFraming,
  NOT_PLAIN,
  RequestParser,
} from '../../src/http1/request-parser.ts'

const parser = new RequestParser(1000, 5)

function parse(text: string): number {
  const bytes = Buffer.from(text, 'latin1')
  return parser.parse(bytes, 0, bytes.length)
}

/** A head with these lines after the request line. */
function withLines(...lines: string[]): string {
  return `${['GET / HTTP/1.1', ...lines].join('\r\n')}\r\n\r\n`
}

describe('plain heads', () => {
  test('a head is read to its end, names and order as they came, values without the white space around', () => {
    const head = 'POST /p/a?q=%20[1] HTTP/1.1\r\nhOst:a:80\r\nX-A: \t 1 \t\r\nx-a:2\xff\r\nX-B:\r\n\r\n'
    assert.equal(parse(`${head}body`), head.length)
    assert.equal(parser.method, 'POST')
    assert.equal(parser.target, '/p/a?q=%20[1]')
    assert.deepEqual(parser.headers, ['hOst', 'a:80', 'X-A', '1', 'x-a', '2\xff', 'X-B', ''])
    assert.equal(parser.bodyBytes, null)
    assert.equal(parser.keepAlive, true)
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
    assert.equal(parser.parse(bytes, 2, bytes.length), head.length)
    assert.equal(parser.parse(bytes, 2, 2 + head.length - 1), INCOMPLETE)
  })

  test('a later head leaves nothing of an earlier one', () => {
    parse(withLines('Host: a', 'Connection: close', 'Content-Length: 5'))
    const { headers } = parser
    parse(withLines('Host: b'))
    assert.deepEqual([parser.keepAlive, parser.bodyBytes, parser.headers], [true, null, ['Host', 'b']])
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
      assert.equal(parser.bodyBytes, bytes)
    })
  }

  for (const [value, keepAlive] of [
    ['close', false],
    ['CLOSE', false],
    ['X-Hop , close', false],
    ['keep-alive', true],
    ['TE', true],
  ] as const) {
    test(`Connection: ${value}`, () => {
      assert.ok(parse(withLines('Host: a', `Connection: ${value}`)) > 0)
      assert.equal(parser.keepAlive, keepAlive)
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
  ]) {
    test(JSON.stringify(lines).slice(0, 80), () => assert.equal(parse(withLines(...lines)), NOT_PLAIN))
  }
})

describe('parts of a head', () => {
  test('every beginning of a plain head may become one', () => {
    const head = 'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n'
    for (let end = 1; end < head.length; end++) assert.equal(parse(head.slice(0, end)), INCOMPLETE, head.slice(0, end))
  })

  for (const text of [
    '\r\n',
    'X',
    'GE ',
    'GET a',
    'GET http:',
    '\x16\x03\x01',
    'GET / HTTP/1.0\r\n',
    'GET / HTTP/1.1\n',
    'GET / HTTP/1.1\r\nHost: a\n',
    `GET /${'x'.repeat(1000)}`,
  ]) {
    test(`${JSON.stringify(text.slice(0, 40))} cannot`, () => assert.equal(parse(text), NOT_PLAIN))
  }
})

test('trailers that speak of the connection', () => {
  for (const name of ['Connection', 'proxy-connection', 'UPGRADE']) {
    assert.equal(mentionsConnection(['X-Sum', '1', name, 'x']), true)
  }
  assert.equal(mentionsConnection(['X-Sum', 'Connection', 'X-Connection', '']), false)
})

test('trailers that speak of framing', () => {
  for (const name of ['Content-Length', 'transfer-encoding']) assert.equal(mentionsFraming(['X', '1', name, '1']), true)
  assert.equal(mentionsFraming(['X-Content-Length', 'transfer-encoding']), false)
})

describe('chunks', () => {
  function faultOf(text: string): string {
    const decoder = new ChunkedDecoder()
    const bytes = Buffer.from(text, 'latin1')
    return decoder.execute(bytes, 0, bytes.length, () => {}) < 0 ? decoder.fault : decoder.isDone ? '' : 'incomplete'
  }

  for (const extension of [';a', ';a=b', ';a="q \\" ;"', ';a;b=c;d="";e']) {
    test(`the extension ${extension} is left out`, () => assert.equal(faultOf(`1${extension}\r\nx\r\n0\r\n\r\n`), ''))
  }
  for (const extension of [
    ';',
    ';;a',
    '; a',
    ';a b',
    ';a=',
    ';a="',
    ';a="b"c',
    ';a="\x01"',
    ';=b',
    ';a=b=c',
    ';\xff',
    ';a\n',
  ]) {
    test(`the extension ${JSON.stringify(extension)} is malformed`, () =>
      assert.match(faultOf(`1${extension}\r\nx\r\n0\r\n\r\n`), /extension/))
  }
})
