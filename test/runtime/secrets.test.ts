import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { createProxy, forwardAuth, type ProxyOptions } from '../../src/index.ts'
import { looksLikeKey, withoutPassword } from '../../src/runtime/secrets.ts'

const pairs = [
  generateKeyPairSync('ed25519'),
  generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  generateKeyPairSync('rsa', { modulusLength: 2048 }),
]

test('a private key is recognised as PEM and without its first and last line', () => {
  for (const { privateKey } of pairs) {
    const pem = String(privateKey.export({ type: 'pkcs8', format: 'pem' }))
    const base64 = pem.replace(/-----.*?-----\n/g, '')
    for (const text of [pem, `x ${pem}`, base64, base64.replaceAll('\n', ''), base64.replaceAll('\n', '\\n')]) {
      assert.ok(looksLikeKey(text), text)
    }
  }
  for (const path of [
    'certs/key.pem',
    '/etc/ssl/private/a-very-long-name-of-a-key-file',
    'Mine/own/certificates/of/production/front/key',
  ]) {
    assert.ok(!looksLikeKey(path), path)
  }
})

test('user and password are masked, whatever is in the password', () => {
  for (const [url, shown] of [
    ['http://u:s3cret@h:99999', 'http://***@h:99999'],
    ['http://u:s3c/ret@h:x', 'http://***@h:x'],
    ['http://u:s3c@ret@h:x', 'http://***@h:x'],
    ['u:s3cret@h:80', '***@h:80'],
    ['http:u:s3cret@h', '***@h'],
    ['http://h:80', 'http://h:80'],
    ['h:80', 'h:80'],
  ] as const) {
    assert.equal(
      withoutPassword(`"${url}" is wrong; use http://host:port`),
      `"${shown}" is wrong; use http://host:port`,
    )
  }
})

test('messages about options have no keys and no passwords', () => {
  const base64 = pairs[0]?.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64')
  for (const options of [
    { target: 'u:s3cret@h:80' },
    { target: { url: 'https://h', tls: base64 } },
    { backends: base64 },
  ]) {
    assert.throws(
      () => createProxy(options as unknown as ProxyOptions),
      ({ message }: Error) => !message.includes('s3cret') && !message.includes(String(base64).slice(20, 30)),
    )
  }
  assert.throws(
    () => forwardAuth({ url: 'u:s3cret@h' }),
    ({ message }: Error) => !message.includes('s3cret'),
  )
})
