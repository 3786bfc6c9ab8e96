import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../src/headers/address.ts'
import { clientAddressOf } from '../../src/headers/client-address.ts'
import { trustMatcher } from '../../src/headers/trust.ts'

const PEER = { address: '10.0.0.1', localPort: 80, isSecure: false, isTrusted: true }

test('an address is parsed without port, brackets, quotes, zone and mapping', () => {
  for (const [text, address] of [
    ['192.0.2.1', '192.0.2.1'],
    [' 192.0.2.1:4711 ', '192.0.2.1'],
    ['"192.0.2.1:4711"', '192.0.2.1'],
    ['2001:db8::1', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['[::1]:80', '::1'],
    ['"[::1]:80"', '::1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['[fe80::1%25eth0]:80', 'fe80::1'],
    ['::1%-', '::1'],
    ['::1%', '::1'],
    ['fe80::1%wan-0', 'fe80::1'],
    ['fe80::1%br_lan', 'fe80::1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['[::ffff:192.0.2.1]:80', '192.0.2.1'],
    ['::ffff:1:0.0.0.1', '::ffff:1:0.0.0.1'],
  ]) {
    assert.equal(parseAddress(text as string), address, text)
  }
})

test('anything else is not an address', () => {
  for (const text of [
    ...['', ' ', '"', '""', '[', ']', '[]', '[]:80', ':80', '%', ':::', 'unknown', '_hidden', 'example.com'],
    ...['192.0.2.1:', '192.0.2.1:x', '192.0.2.1:123456', '192.0.2.1:80:80', '192.0.2.1%eth0', '[192.0.2.1]', '192.0.2'],
    ...['[::1', '[::1]80', '[::1]:', '[::1]:x', '::1]:80', '010.0.0.1', '0x7f.1', '1.2.3.4.5', 'unix:', '::1\0'],
  ]) {
    assert.equal(parseAddress(text), null, JSON.stringify(text))
  }
})

test('the client is the last hop that is not trusted', () => {
  const isTrusted = trustMatcher(['10.0.0.0/8', '::1'])
  for (const [forwardedFor, client] of [
    ['', '10.0.0.1'],
    ['192.0.2.1', '192.0.2.1'],
    ['1.1.1.1, 192.0.2.1, 10.0.0.2', '192.0.2.1'],
    ['1.1.1.1, 192.0.2.1:4711, 10.0.0.2:80, [::1]:80', '192.0.2.1'],
    ['1.1.1.1, "[2001:db8::1]:80"', '2001:db8::1'],
    ['10.0.0.3, , 10.0.0.2,,', '10.0.0.3'],
  ]) {
    assert.equal(clientAddressOf(PEER, forwardedFor as string, isTrusted), client, forwardedFor)
  }
})

test('an invalid address ends the search at the last valid one', () => {
  const isTrusted = trustMatcher(['10.0.0.0/8'])
  for (const [forwardedFor, client] of [
    ['unknown', '10.0.0.1'],
    ['192.0.2.1, unknown, 10.0.0.2', '10.0.0.2'],
    ['192.0.2.1, ::1x, 10.0.0.3, 10.0.0.2', '10.0.0.3'],
    ['192.0.2.1, 10.0.0.2:x', '10.0.0.1'],
  ]) {
    assert.equal(clientAddressOf(PEER, forwardedFor as string, isTrusted), client, forwardedFor)
  }
})

test('unix matches only peers without an address', () => {
  const isTrusted = trustMatcher(['unix'])
  assert.equal(isTrusted(''), true)
  for (const address of ['127.0.0.1', '::1', 'unix', 'unix:']) assert.equal(isTrusted(address), false, address)
  assert.equal(trustMatcher(['unix', 'loopback'])(''), true)
  assert.equal(trustMatcher(['unix', 'loopback'])('127.0.0.1'), true)
  assert.equal(trustMatcher(['loopback'])(''), false)
})
