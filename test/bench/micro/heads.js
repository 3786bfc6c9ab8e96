import { RequestReader } from '../../../dist/src/fronts/socket/request-reader.js'
import { ResponseParser } from '../../../dist/src/http1/response-parser.js'

const REQUEST_BOUNDS = { maxHeadBytes: 16_384, maxHeaders: 100, maxTargetBytes: 8192 }
const RESPONSE_BOUNDS = { maxResponseHeadBytes: 16_384, maxInterimResponses: 100 }
const POLICY = { xfwd: true, via: '', pass: new Set() }
const PEER = { address: '192.0.2.1', localPort: 8080, isSecure: false, isTrusted: false }

const SMALL_REQUEST = ['Host: localhost:8080', 'User-Agent: curl/8.11.1', 'Accept: */*']
const BROWSER_REQUEST = [
  'Host: www.example.com',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
  'Accept-Language: en-GB,en;q=0.7,de;q=0.3',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Referer: https://www.example.com/articles/2026/11/',
  'Connection: keep-alive',
  'Cookie: session=4f6c1d2b8a9e4c0d8f7a6b5c4d3e2f10; theme=dark; consent=analytics:0,marketing:0',
  'Upgrade-Insecure-Requests: 1',
  'Sec-Fetch-Dest: document',
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-Site: same-origin',
  'If-None-Match: "5f3e-62b1c0de4a7c0"',
  'Priority: u=0, i',
]
const SMALL_RESPONSE = ['Content-Type: application/json', 'Content-Length: 0', 'Date: Mon, 23 Nov 2026 12:00:00 GMT']
const LARGE_RESPONSE = [
  ...SMALL_RESPONSE,
  'Server: nginx/1.28.0',
  'Cache-Control: private, max-age=0, must-revalidate',
  'ETag: "5f3e-62b1c0de4a7c0"',
  'Vary: Accept-Encoding, Cookie',
  'Set-Cookie: session=4f6c1d2b8a9e4c0d8f7a6b5c4d3e2f10; Path=/; HttpOnly; Secure; SameSite=Lax',
  'Strict-Transport-Security: max-age=63072000; includeSubDomains',
  'X-Content-Type-Options: nosniff',
  'X-Frame-Options: DENY',
  'X-Request-Id: 0195a0f2-7f6e-7b61-9a3e-5a1c6c0d9d11',
]

/** A head that is there as a whole, as nearly all are. */
export const headCases = {
  'request head, 3 headers': () => requests(SMALL_REQUEST),
  'request head, 14 headers': () => requests(BROWSER_REQUEST),
  'response head, 3 headers': () => responses(SMALL_RESPONSE),
  'response head, 12 headers': () => responses(LARGE_RESPONSE),
}

function requests(headers) {
  const bytes = head('GET /articles/2026/11/23?page=2 HTTP/1.1', headers)
  const reader = new RequestReader(REQUEST_BOUNDS, () => POLICY)
  return () => {
    if (reader.read(bytes, 0, bytes.length, PEER) !== bytes.length) throw new Error('the head was not read')
    return reader.sent
  }
}

function responses(headers) {
  const bytes = head('HTTP/1.1 200 OK', headers)
  let last = null
  const handler = {
    onInformational() {},
    onHead(head) {
      last = head
    },
    onData() {},
  }
  const parser = new ResponseParser(handler, RESPONSE_BOUNDS)
  return () => {
    parser.start('GET')
    if (parser.execute(bytes, 0, bytes.length) !== bytes.length)
      throw new Error(`the head was not read: ${parser.fault}`)
    return last
  }
}

const head = (first, headers) => Buffer.from(`${[first, ...headers].join('\r\n')}\r\n\r\n`, 'latin1')
