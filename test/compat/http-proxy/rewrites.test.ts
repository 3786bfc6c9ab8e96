import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rewriteCookie } from '../../../src/compat/http-proxy/cookies.ts'
import { rewriteLocation } from '../../../src/compat/http-proxy/location.ts'

const HOSTS = { target: 'backend.com', client: 'client.com' }

for (const [what, location, options, expected] of [
  ['hostRewrite', 'http://backend.com/x?y', { hostRewrite: 'a.com' }, 'http://a.com/x?y'],
  ['hostRewrite with a port', 'http://backend.com/', { hostRewrite: 'a.com:81' }, 'http://a.com:81/'],
  ['autoRewrite', 'http://backend.com/', { autoRewrite: true }, 'http://client.com/'],
  ['hostRewrite goes first', 'http://backend.com/', { autoRewrite: true, hostRewrite: 'a.com' }, 'http://a.com/'],
  ['protocolRewrite', 'http://backend.com/', { protocolRewrite: 'https' }, 'https://backend.com/'],
  ['both', 'http://backend.com/', { protocolRewrite: 'https', autoRewrite: true }, 'https://client.com/'],
  ['another host stays', 'http://other.com/', { hostRewrite: 'a.com', protocolRewrite: 'https' }, 'http://other.com/'],
  ['another port stays', 'http://backend.com:81/', { hostRewrite: 'a.com' }, 'http://backend.com:81/'],
  ['a path stays', '/x', { hostRewrite: 'a.com' }, '/x'],
  ['no protocol', '//backend.com/x', { autoRewrite: true }, '//client.com/x'],
  ['no protocol, but one is asked for', '//backend.com/x', { protocolRewrite: 'https' }, 'https://backend.com/x'],
  ['no option', 'http://backend.com', {}, 'http://backend.com/'],
] as const) {
  test(`Location: ${what}`, () => assert.equal(rewriteLocation(location, 302, HOSTS, options), expected))
}

test('Location: of redirects alone', () => {
  const changed = (status: number) =>
    rewriteLocation('http://backend.com/', status, HOSTS, { hostRewrite: 'a.com' }) === 'http://a.com/'
  const statuses = [200, 201, 300, 301, 302, 303, 304, 307, 308, 404]
  assert.deepEqual(statuses.filter(changed), [201, 301, 302, 303, 307, 308])
})

test('Location: the port of the target does not stay with another host', () => {
  const hosts = { target: 'backend.com:8080', client: '' }
  assert.equal(rewriteLocation('http://backend.com:8080/', 302, hosts, { hostRewrite: 'a.com' }), 'http://a.com/')
  // Without a host from the client there is nothing to write.
  assert.equal(
    rewriteLocation('http://backend.com:8080/', 302, hosts, { autoRewrite: true }),
    'http://backend.com:8080/',
  )
})

for (const [what, cookie, attribute, rewrite, expected] of [
  ['another domain', 'a=1; Domain=old.com; Path=/', 'domain', 'new.com', 'a=1; Domain=new.com; Path=/'],
  ['no domain', 'a=1; domain=old.com; Path=/', 'domain', '', 'a=1; Path=/'],
  ['by the old one', 'a=1; domain=old.com', 'domain', { 'old.com': 'new.com', '*': 'x' }, 'a=1; domain=new.com'],
  ['any other', 'a=1; domain=old.com', 'domain', { 'x.com': 'y', '*': 'new.com' }, 'a=1; domain=new.com'],
  ['no rule', 'a=1; domain=old.com', 'domain', { 'x.com': 'y' }, 'a=1; domain=old.com'],
  ['a rule that removes', 'a=1; domain=old.com', 'domain', { 'old.com': '' }, 'a=1'],
  ['a name of all objects', 'a=1; domain=constructor', 'domain', {}, 'a=1; domain=constructor'],
  ['another path', 'a=1; Path=/old', 'path', '/new', 'a=1; Path=/new'],
  ['nothing to change', 'a=1; Secure', 'path', '/new', 'a=1; Secure'],
  ['not the value', 'path=/old; Path=/old', 'path', '/new', 'path=/old; Path=/new'],
] as const) {
  test(`Set-Cookie: ${what}`, () => assert.equal(rewriteCookie(cookie, attribute, rewrite), expected))
}
