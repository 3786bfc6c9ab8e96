import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mentionsConnection, mentionsFraming, passableTrailers } from '../../src/headers/trailers.ts'

test('trailers with connection headers', () => {
  for (const name of ['Connection', 'proxy-connection', 'UPGRADE']) {
    assert.equal(mentionsConnection(['X-Sum', '1', name, 'x']), true)
  }
  assert.equal(mentionsConnection(['X-Sum', 'Connection', 'X-Connection', '']), false)
})

test('trailers with framing headers', () => {
  for (const name of ['Content-Length', 'transfer-encoding']) assert.equal(mentionsFraming(['X', '1', name, '1']), true)
  assert.equal(mentionsFraming(['X-Content-Length', 'transfer-encoding']), false)
})

test('forbidden trailers are not passed on in any spelling', () => {
  const trailers = [
    'X-Sum',
    '1',
    'Set_Cookie',
    '2',
    'x.forwarded.for',
    '3',
    'ORIGIN',
    '4',
    'ETag',
    '5',
    'Server-Timing',
    '6',
  ]
  assert.deepEqual(passableTrailers(trailers, []), ['X-Sum', '1', 'ETag', '5', 'Server-Timing', '6'])
  assert.equal(passableTrailers(['Origin', 'https://evil.example'], []), null)
  assert.equal(passableTrailers(['Proxy-Authentication-Info', 'x'], []), null)
})

test('nominated trailers are not passed on', () => {
  const head = ['Connection', 'keep-alive, X-Hop', 'Host', 'a', 'connection', 'x-other']
  assert.deepEqual(passableTrailers(['x-hop', '1', 'X-Sum', '2', 'X-Other', '3'], head), ['X-Sum', '2'])
  assert.equal(passableTrailers(['X-HOP', '1'], head), null)
  assert.deepEqual(passableTrailers(['close', '1'], ['Connection', 'close']), ['close', '1'])
})
