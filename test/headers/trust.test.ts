import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { trustMatcher } from '../../src/headers/trust.ts'

test('addresses and ranges of both families', () => {
  const isTrusted = trustMatcher(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32', '::1'])
  for (const address of ['10.0.0.0', '10.255.255.255', '192.0.2.7', '2001:db8::5', '2001:DB8:1::', '::1']) {
    assert.ok(isTrusted(address), address)
  }
  for (const address of ['9.255.255.255', '11.0.0.0', '192.0.2.8', '2001:db9::', '::2', '::']) {
    assert.ok(!isTrusted(address), address)
  }
})

test('mapped IPv4 addresses and ranges are compared as IPv4', () => {
  for (const ranges of [['10.0.0.0/8'], ['::ffff:10.0.0.0/104']]) {
    const isTrusted = trustMatcher(ranges)
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '::FFFF:0a01:0203']) assert.ok(isTrusted(address), address)
    assert.ok(!isTrusted('::ffff:11.1.2.3'))
  }
})

test('a range of a whole family does not match the other family', () => {
  assert.ok(trustMatcher(['0.0.0.0/0'])('203.0.113.9'))
  assert.ok(!trustMatcher(['0.0.0.0/0'])('2001:db8::1'))
  assert.ok(trustMatcher(['::/0'])('2001:db8::1'))
  assert.ok(!trustMatcher(['::/0'])('203.0.113.9'))
})

test('names: loopback, and private for RFC 1918 and RFC 4193', () => {
  const loopback = trustMatcher(['loopback'])
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) assert.ok(loopback(address), address)
  for (const address of ['10.0.0.1', '::2', '128.0.0.1']) assert.ok(!loopback(address), address)
  const priv = trustMatcher(['private'])
  for (const address of ['10.1.1.1', '172.16.0.1', '172.31.255.255', '192.168.9.9', 'fd00::1']) {
    assert.ok(priv(address), address)
  }
  for (const address of ['127.0.0.1', '172.32.0.1', '169.254.1.1', 'fe80::1', '192.169.0.1']) {
    assert.ok(!priv(address), address)
  }
})

test('an address is compared without its zone', () => {
  assert.ok(trustMatcher(['fe80::/10'])('fe80::1%eth0'))
})

test('garbage is never trusted and never throws', () => {
  const everything = trustMatcher(['0.0.0.0/0', '::/0'])
  for (const garbage of [
    '',
    ' ',
    '127.1',
    '0x7f.1',
    '2130706433',
    '010.0.0.1',
    '1.2.3.4.5',
    'unknown',
    '_hidden',
    '1.2.3.4:80',
  ]) {
    assert.equal(everything(garbage), false, garbage)
  }
  fc.assert(
    fc.property(fc.string(), (text) => typeof everything(text) === 'boolean'),
    { seed: 3 },
  )
  assert.equal(everything(undefined as unknown as string), false)
})

test('without ranges nobody is trusted', () => {
  assert.equal(trustMatcher([])('127.0.0.1'), false)
})

test('malformed ranges are rejected, also names like toString', () => {
  const wrong = ['', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/8/8', '10.0.0/8', '::/129', '10.0.0.0/8x']
  for (const range of [...wrong, 'Loopback', 'toString', 'constructor', '10.0.0.0/255.0.0.0', '127.1']) {
    assert.throws(
      () => trustMatcher([range]),
      { name: 'TypeError', message: /neither an address nor a CIDR range/ },
      range,
    )
  }
})
