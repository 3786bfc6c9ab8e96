import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'node:url'
import { Targets } from '../../../src/compat/http-proxy/target.ts'
import type { ProxyTargetDetailed } from '../../../src/compat/http-proxy/types.ts'

const originOf = (target: string | URL | ProxyTargetDetailed): string => {
  const targets = new Targets()
  return targets.read(targets.parse(target), {}).origin
}

for (const [target, origin] of [
  ['http://a', 'http://a'],
  ['ws://a:81', 'http://a:81'],
  ['wss://a/x', 'https://a'],
  [new URL('https://a:443'), 'https://a'],
  [{ host: 'a', port: 81 }, 'http://a:81'],
  [{ host: 'a', port: '80' }, 'http://a'],
  [{ host: 'a:82' }, 'http://a:82'],
  [{ host: 'b:1', hostname: 'a', port: 81, protocol: 'https:' }, 'https://a:81'],
  [{ host: 'a', protocol: 'https' }, 'https://a'],
  [{ host: '::1', port: 81 }, 'http://[::1]:81'],
  [{ host: '[::1]', port: 81 }, 'http://[::1]:81'],
  [{ port: 81 }, 'http://localhost:81'],
  [parse('http://a:81/x?y'), 'http://a:81'],
  [{ socketPath: '/run/a.sock', host: 'a' }, 'http+unix:///run/a.sock'],
] as const) {
  test(`target: ${JSON.stringify(target)} is ${origin}`, () => {
    assert.equal(originOf(target as ProxyTargetDetailed), origin)
  })
}

test('target: what is no URL, and no host, throws', () => {
  assert.throws(() => originOf('nonsense'), TypeError)
  assert.throws(() => originOf({ host: 'a b' }), /target has the host "a b"; use a host name or an address/)
})

test('target: certificates by the options of the call first; none of them for http', () => {
  const targets = new Targets()
  const tlsOf = (target: ProxyTargetDetailed, options: object) => targets.read(target, options).tls
  assert.equal(tlsOf({ host: 'a', protocol: 'https:' }, {}), undefined)
  assert.equal(tlsOf({ host: 'a', protocol: 'https:' }, { secure: true }), undefined)
  assert.deepEqual(tlsOf({ host: 'a', protocol: 'https:' }, { secure: false }), { rejectUnauthorized: false })
  const { tls } = targets.read({ host: 'a', protocol: 'https:', ca: 'x', cert: 'c', key: 'k' }, { ca: 'y' })
  assert.deepEqual(tls, { ca: 'y', cert: 'c', key: 'k' })
  assert.equal(tlsOf({ host: 'a', ca: 'x' }, { secure: false }), undefined)
})

test('target: text is parsed once, and again where somebody has changed the URL', () => {
  const targets = new Targets()
  const url = targets.parse('http://a/x') as URL
  assert.equal(targets.parse('http://a/x'), url)
  url.host = 'evil'
  const again = targets.parse('http://a/x')
  assert.notEqual(again, url)
  assert.equal(targets.read(again, {}).origin, 'http://a')
})

test('target: what is kept of texts is bounded', () => {
  const targets = new Targets()
  const first = targets.parse('http://a')
  for (let i = 0; i < 256; i++) targets.parse(`http://a${i}`)
  assert.notEqual(targets.parse('http://a'), first)
})
