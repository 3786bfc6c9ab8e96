import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ChunkedDecoder } from '../../src/http1/chunked.ts'
import { INCOMPLETE, NOT_PLAIN, RequestParser } from '../../src/http1/request-parser.ts'

const parser = new RequestParser(1000, 5)

function parse(text: string): number {
  const bytes = Buffer.from(text, 'latin1')
  return parser.parse(bytes, 0, bytes.length)
}

/** A head with these lines after the request line. */
function withLines(...lines: string[]): string {
  return `${['GET / HTTP/1.1', ...lines].join('\r\n')}\r\n\r\n`
}

test('a head keeps names and order, and trims values', () => {
  const head = 'POST /p/a?q=%20[1] HTTP/1.1\r\nhOst:a:80\r\nX-A: \t 1 \t\r\nx-a:2\xff\r\nX-B:\r\n\r\n'
  assert.equal(parse(`${head}body`), head.length)
  assert.deepEqual([parser.method, parser.target], ['POST', '/p/a?q=%20[1]'])
  assert.deepEqual(parser.headers, ['hOst', 'a:80', 'X-A', '1', 'x-a', '2\xff', 'X-B', ''])
})

test('it does not interpret headers', () => {
  for (const lines of [[], ['Host: a', 'Host: b'], ['Content-Length: x', 'Upgrade: y']]) {
    const head = withLines(...lines)
    assert.equal(parse(head), head.length)
  }
})

describe('heads that are not plain', () => {
  for (const lines of [
    ['X : 1'],
    [': 1'],
    ['X'],
    ['X: 1', ' 2'],
    ['X: \0'],
    ['X: a\rb'],
    ['X: a\nb'],
    ['Transfer-Encoding:\tchunked'],
    ['A: 1', 'B: 2', 'C: 3', 'D: 4', 'E: 5', 'F: 6'],
    [`X: ${'x'.repeat(1000)}`],
  ]) {
    test(JSON.stringify(lines).slice(0, 80), () => assert.equal(parse(withLines(...lines)), NOT_PLAIN))
  }
})

describe('parts of a head are incomplete', () => {
  test('every prefix of a plain head is incomplete', () => {
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

describe('chunks', () => {
  function faultOf(text: string): string {
    const decoder = new ChunkedDecoder()
    const bytes = Buffer.from(text, 'latin1')
    return decoder.execute(bytes, 0, bytes.length, () => {}) < 0 ? decoder.fault : decoder.isDone ? '' : 'incomplete'
  }

  for (const extension of [';a', ';a=b', ';a="q \\" ;"', ';a;b=c;d="";e']) {
    test(`the extension ${extension} is skipped`, () => assert.equal(faultOf(`1${extension}\r\nx\r\n0\r\n\r\n`), ''))
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
