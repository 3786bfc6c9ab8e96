import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type RequestHeaders, requestHeaders } from '../../src/headers/request.ts'

const PEER = { address: '192.0.2.1', localPort: 80, isSecure: false, isTrusted: false }
const POLICY = { xfwd: false, via: '', pass: new Set<string>() }

function read(raw: string[], version: '1.0' | '1.1' = '1.1'): RequestHeaders {
  return requestHeaders(['Host', 'a', ...raw], 'POST', version, PEER, POLICY)
}

test('an expectation counts in any of several lines, as in node', () => {
  for (const raw of [
    ['Expect', '100-continue'],
    ['expect', 'x', 'Expect', '100-Continue'],
    ['Expect', '100-continue', 'Expect', 'x'],
    ['Expect', 'x, 100-continue'],
  ]) {
    assert.equal(read(raw).expectsContinue, true, raw.join())
    assert.equal(read(raw, '1.0').expectsContinue, false, raw.join())
    assert.deepEqual(read(raw).list, ['Host', 'a'])
  }
  assert.equal(read(['Expect', 'x']).expectsContinue, false)
})

test('Connection: close is recognised', () => {
  for (const value of ['close', 'Close', 'CLOSE', 'x, close']) assert.equal(read(['Connection', value]).saysClose, true)
  for (const value of ['keep-alive', '', 'closed', 'x']) assert.equal(read(['Connection', value]).saysClose, false)
})

test('a request is plain if it can be read in only one way', () => {
  for (const raw of [
    ['Connection', 'close, TE', 'TE', 'trailers', 'Content-Length', '5', 'Keep-Alive', 'x', 'HTTP2-Settings', 'x'],
    ['Transfer-Encoding', 'chunked', 'Content_Length', '5', 'X_Forwarded_For', '1', 'Proxy-Authorization', 'x'],
  ]) {
    assert.deepEqual([read(raw).isPlain, read(raw).fault], [true, null], raw.join())
  }
  for (const raw of [
    ['Upgrade', 'x'],
    ['Connection', 'upgrade'],
    ['Connection', 'a', 'Connection', 'b, Upgrade'],
    ['Proxy-Connection', 'close'],
    ['Expect', ''],
    ['Max-Forwards', '1'],
    ['Content-Length', '5', 'Content-Length', '5'],
    ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', ''],
  ]) {
    assert.deepEqual([read(raw).isPlain, read(raw).fault], [false, null], raw.join())
  }
})

test('headers between a client and its proxy are not passed on', () => {
  assert.deepEqual(
    read(['Proxy-Authentication-Info', 'x', 'Proxy-Authenticate', 'x', 'Proxy-Authorization', 'x']).list,
    ['Host', 'a'],
  )
})
