import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type RewriteCookiesOptions, rewriteCookies } from '../../src/index.ts'
import { through } from '../support/interceptors.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, inHttp2 } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'
import { said, sayingBackend } from './saying-backend.ts'

for (const { name, run } of ALL_FRONTS) {
  /** @param table what the backend sets, and what the client gets. */
  async function check(options: RewriteCookiesOptions, table: Readonly<Record<string, string>>): Promise<void> {
    await using backend = await sayingBackend()
    await using front = await run(through(backend, [rewriteCookies(options)]))
    for (const [cookie, expected] of Object.entries(table)) {
      assert.deepEqual(await said(front, 'Set-Cookie', [cookie], { status: 200 }), [expected], cookie)
    }
  }

  test(`${name}: a domain is replaced, and none is added`, async () => {
    await check(
      { domain: 'public.test' },
      {
        'a=b; Domain=backend.test; Path=/': 'a=b; Domain=public.test; Path=/',
        'a=b;domain=.backend.test;HttpOnly': 'a=b;domain=public.test;HttpOnly',
        'a=b; DOMAIN = backend.test ': 'a=b; DOMAIN =public.test',
        'a=b': 'a=b',
        'a=b; Path=/': 'a=b; Path=/',
        // Browsers take the last one.
        'a=b; Domain=one.test; Domain=two.test': 'a=b; Domain=public.test; Domain=public.test',
        // They ignore it, and a host-only cookie must not become one of a domain.
        'a=b; Domain=; Path=/': 'a=b; Domain=; Path=/',
        'a=b; Domain': 'a=b; Domain',
      },
    )
  })

  test(`${name}: names and values are not touched, whatever they look like`, {
    skip: inHttp2(name, "node's client sends UTF-8"),
  }, async () => {
    await check(
      { domain: 'public.test', path: '/api', secure: false, sameSite: 'lax' },
      {
        'domain=path=x': 'domain=path=x; SameSite=Lax',
        'Domain=backend.test; Path=/': 'Domain=backend.test; Path=/api; SameSite=Lax',
        'a=domain=backend.test&path=/; Domain=x.test': 'a=domain=backend.test&path=/; Domain=public.test; SameSite=Lax',
        'a="Secure, SameSite=None"': 'a="Secure, SameSite=None"; SameSite=Lax',
        'secure; Domain=x.test': 'secure; Domain=public.test; SameSite=Lax',
        'a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Max-Age=1; Priority=High':
          'a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Max-Age=1; Priority=High; SameSite=Lax',
        'a=\xe4; X-Domain=x.test; Paths=/': 'a=\xe4; X-Domain=x.test; Paths=/; SameSite=Lax',
        ';': ';; SameSite=Lax',
        '=; Path=/x=y;;': '=; Path=/api;;; SameSite=Lax',
      },
    )
  })

  test(`${name}: domains by a table`, async () => {
    await check(
      { domain: { 'Backend.test': 'public.test', '.other.test': '.other.public.test', 'gone.test': '' } },
      {
        'a=b; Domain=.BACKEND.test': 'a=b; Domain=public.test',
        'a=b; Domain=other.test': 'a=b; Domain=.other.public.test',
        'a=b; Domain=gone.test; Path=/': 'a=b; Path=/',
        'a=b; Domain=sub.backend.test': 'a=b; Domain=sub.backend.test',
        'a=b; Domain=constructor': 'a=b; Domain=constructor',
      },
    )
    await check(
      { domain: { 'kept.test': 'kept.test', '*': '' } },
      {
        'a=b; Domain=kept.test': 'a=b; Domain=kept.test',
        'a=b; Domain=else.test; Secure': 'a=b; Secure',
      },
    )
    await check({ domain: '' }, { 'a=b; Domain=else.test': 'a=b' })
  })

  test(`${name}: paths by a table, with the paths below them`, async () => {
    await check(
      { path: { '/app': '/shop', '/app/admin': '/', '/app/old/': '', '/': '/rest' } },
      {
        'a=b; Path=/app; Secure': 'a=b; Path=/shop; Secure',
        'a=b; path=/app/': 'a=b; path=/shop/',
        'a=b; Path=/app/cart': 'a=b; Path=/shop/cart',
        'a=b; Path=/app/admin': 'a=b; Path=/',
        'a=b; Path=/app/admin/users': 'a=b; Path=/users',
        'a=b; Path=/app/old': 'a=b',
        'a=b; Path=/app/old/x': 'a=b',
        'a=b; Path=/apple': 'a=b; Path=/rest/apple',
        'a=b; Path=/': 'a=b; Path=/rest',
        // Browsers ignore these.
        'a=b; Path=app': 'a=b; Path=app',
        'a=b; Path=': 'a=b; Path=',
        'a=b; Path': 'a=b; Path',
        'a=b': 'a=b',
      },
    )
    await check(
      { path: { '/app': '/', '*': '/rest' } },
      {
        'a=b; Path=/app/x': 'a=b; Path=/x',
        'a=b; Path=/else': 'a=b; Path=/rest',
      },
    )
    await check({ path: '/' }, { 'a=b; Path=/app/x': 'a=b; Path=/' })
    await check({ path: '' }, { 'a=b; Path=/app/x; Secure': 'a=b; Secure' })
  })

  test(`${name}: Secure is added and removed`, async () => {
    await check(
      { secure: true },
      {
        'a=b; Path=/': 'a=b; Path=/; Secure',
        'a=b; secure; Path=/': 'a=b; secure; Path=/',
        'a=b; Secure=no': 'a=b; Secure=no',
      },
    )
    await check(
      { secure: false },
      {
        'a=b; Secure; Path=/': 'a=b; Path=/',
        'a=b;SECURE': 'a=b',
        // Browsers would ignore them.
        'a=b; SameSite=None; Secure; Partitioned; Path=/': 'a=b; Path=/',
        'a=b; Secure; SameSite=Strict': 'a=b; SameSite=Strict',
      },
    )
  })

  test(`${name}: SameSite is set and removed`, async () => {
    await check(
      { sameSite: 'strict' },
      {
        'a=b': 'a=b; SameSite=Strict',
        'a=b; samesite=None; Secure': 'a=b; samesite=Strict; Secure',
        'a=b; SameSite=Lax; Path=/; SameSite=None': 'a=b; SameSite=Strict; Path=/',
      },
    )
    await check(
      { sameSite: 'none' },
      { 'a=b': 'a=b; SameSite=None; Secure', 'a=b; Secure': 'a=b; Secure; SameSite=None' },
    )
    await check({ sameSite: false }, { 'a=b; SameSite=None; Secure': 'a=b; Secure' })
    await check({ sameSite: 'lax', secure: false }, { 'a=b; SameSite=None; Secure': 'a=b; SameSite=Lax' })
  })

  test(`${name}: cookies keep what the prefix of their name promises`, async () => {
    await check(
      { domain: 'public.test', path: '/api', secure: false },
      {
        '__Host-a=b; Path=/; Secure': '__Host-a=b; Path=/; Secure',
        ' __host-a=b; Secure; Path=/; SameSite=None; Partitioned':
          '__host-a=b; Secure; Path=/; SameSite=None; Partitioned',
        '__Host-a=b; Domain=x.test; Path=/x; Secure': '__Host-a=b; Domain=x.test; Path=/x; Secure',
        '__Secure-a=b; Domain=x.test; Path=/; Secure': '__Secure-a=b; Domain=public.test; Path=/api; Secure',
        '__Http-a=b; Path=/; Secure; HttpOnly': '__Http-a=b; Path=/api; Secure; HttpOnly',
        '__Secured=b; Path=/; Secure': '__Secured=b; Path=/api',
      },
    )
  })

  test(`${name}: each of several cookies is rewritten, and nothing else`, async () => {
    await using backend = await sayingBackend()
    await using front = await run(through(backend, [rewriteCookies({ domain: 'public.test' })]))
    const cookies = ['a=1; Domain=x.test', 'b=2', 'c=3; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Domain=y.test']
    assert.deepEqual(await said(front, 'Set-Cookie', cookies), [
      'a=1; Domain=public.test',
      'b=2',
      'c=3; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Domain=public.test',
    ])
    assert.deepEqual(await said(front, 'set-cookie', ['a=1; Domain=x.test']), ['a=1; Domain=public.test'])
    assert.deepEqual(await said(front, 'X-Set-Cookie', ['a=1; Domain=x.test']), ['a=1; Domain=x.test'])
  })

  test(`${name}: the cookies of a WebSocket handshake are rewritten`, {
    skip: inHttp2(name, 'the handshake has a key of the proxy, which this backend does not answer'),
  }, async () => {
    await using backend = await rawBackend((upgrade) =>
      upgrade.socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\nSet-Cookie: a=b; Domain=x.test\r\n\r\n',
      ),
    )
    await using front = await run(through(backend, [rewriteCookies({ domain: 'public.test' })]))
    const client = rawClient(front.port)
    client.write(upgradeRequest())
    assert.match(await client.until('\r\n\r\n'), /\r\nSet-Cookie: a=b; Domain=public\.test\r\n/)
    client.socket.destroy()
  })

  test(`${name}: a huge cookie is rewritten in linear time`, async () => {
    await using backend = await sayingBackend()
    await using front = await run(
      through(backend, [rewriteCookies({ domain: 'public.test', path: '/', secure: true })]),
    )
    for (const cookie of [';='.repeat(6000), `a; Path=/${'/'.repeat(12_000)}x`, `a=b${' '.repeat(12_000)}c`]) {
      const [rewritten = ''] = await said(front, 'Set-Cookie', [cookie])
      assert.ok(rewritten.endsWith('; Secure'))
    }
  })
}

test('wrong options name the option, the value and what is allowed', () => {
  for (const [options, message] of [
    [{ domain: 5 }, /^rewrite-cookies: domain is 5; give a domain, such as "example.com", or a table of them$/],
    [{ domain: 'a;b' }, /^rewrite-cookies: domain\["\*"\] is "a;b"; give a domain/],
    [{ domain: { 'a b': 'c' } }, /^rewrite-cookies: a key of domain is "a b"; give a domain, .*, or "\*"$/],
    [{ domain: { '': 'c' } }, /a key of domain is ""/],
    [{ domain: { a: null } }, /^rewrite-cookies: domain\["a"\] is null; give a domain, .*, or "" to remove it$/],
    [{ domain: null }, /domain is null/],
    [{ domain: ['a'] }, /domain is \["a"\]/],
    [{ path: 'api' }, /^rewrite-cookies: path\["\*"\] is "api"; give a path/],
    [{ path: '/a;b' }, /path\["\*"\] is "\/a;b"/],
    [{ path: { api: '/a' } }, /a key of path is "api"/],
    [{ secure: 'yes' }, /^rewrite-cookies: secure is "yes"; give true or false$/],
    [{ sameSite: 'Lax' }, /^rewrite-cookies: sameSite is "Lax"; give "strict", "lax", "none" or false$/],
    [{ sameSite: true }, /sameSite is true/],
    [{ sameSite: 'toString' }, /sameSite is "toString"/],
    [{ sameSite: 'none', secure: false }, /^rewrite-cookies: secure is false; give true, or another sameSite/],
    [{ samesite: 'lax' }, /^rewrite-cookies: there is no option samesite; allowed: domain, path, secure, sameSite$/],
    [undefined, /^rewrite-cookies: the options are missing; give an object$/],
  ] as const) {
    assert.throws(() => rewriteCookies(options as RewriteCookiesOptions), { name: 'TypeError', message })
  }
})
