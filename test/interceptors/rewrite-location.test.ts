import assert from 'node:assert/strict'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Agent, request } from 'undici'
import { type RewriteLocationOptions, respond, rewriteLocation } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { ALL_FRONTS, inHttp2, SECURE_FRONTS } from '../support/running-proxy.ts'
import { said, sayingBackend } from './saying-backend.ts'

/** A table of what backends say and clients get; `{backend}` is the backend's host and port. */
type Table = Readonly<Record<string, string>>

for (const { name, run } of ALL_FRONTS) {
  async function check(table: Table, options: RewriteLocationOptions = {}, basePath = ''): Promise<void> {
    await using backend = await sayingBackend()
    await using front = await run(through({ url: backend.url + basePath }, [rewriteLocation(options)]))
    for (const [location, expected] of Object.entries(table)) {
      const sent = location.replaceAll('{backend}', `127.0.0.1:${backend.port}`)
      const wanted = expected.replaceAll('{backend}', `127.0.0.1:${backend.port}`)
      assert.deepEqual(await said(front, 'Location', [sent]), [wanted], location)
    }
  }

  test(`${name}: a URL of the backend becomes one of the client's host`, {
    skip: inHttp2(name, "node's client sends UTF-8"),
  }, async () => {
    await check({
      'http://{backend}/path?a=1&b=http://{backend}/#top': 'http://public.test/path?a=1&b=http://{backend}/#top',
      'http://{backend}': 'http://public.test',
      'http://{backend}?a': 'http://public.test?a',
      'http://{backend}#a': 'http://public.test#a',
      'HTTP://{backend}/Path': 'http://public.test/Path',
      '//{backend}/path': '//public.test/path',
      'http://user:secret@{backend}/': 'http://user:secret@public.test/',
      'http://public.test/path': 'http://public.test/path',
      'http://public.test:80/path': 'http://public.test/path',
      'http://PUBLIC.test/path': 'http://public.test/path',
      'http://{backend}/a b\x80': 'http://public.test/a b\x80',
      // The bytes of the path are not touched.
      'http://{backend}/a/../%2e%2E//x': 'http://public.test/a/../%2e%2E//x',
    })
  })

  test(`${name}: other and malformed URLs stay as they are`, async () => {
    const urls = [
      'http://other.test/',
      'http://127.0.0.1/',
      'http://127.0.0.1:1/',
      'http://{backend}.evil.test/',
      'http://{backend}@evil.test/',
      'http://evil.test/http://{backend}/',
      'http://evil.test#@{backend}/',
      'http://evil.test?@{backend}/',
      'http://evil.test\\@{backend}/',
      'http://{backend}\\@evil.test/',
      'http://{backend}\\x/',
      'http://{backend}\t/',
      'http:/{backend}/',
      'http:{backend}/',
      'http:\\\\{backend}\\',
      'ftp://{backend}/',
      'javascript:alert(1)',
      'http://',
      'http:///path',
      'http://[::1/',
      'http://{backend}0000/',
      'http://a:b:c/',
      'http://%zz/',
      '//',
      '///{backend}/',
      '/\\{backend}/',
      '/path',
      'path?a=1',
      '../path',
      '?a',
      '#a',
      '.',
      '*',
      '',
    ]
    await check(Object.fromEntries(urls.map((url) => [url, url])))
  })

  test(`${name}: host and protocol may be given`, async () => {
    const table = {
      'http://{backend}/a': 'https://www.example.com:8443/a',
      'https://{backend}/a': 'https://www.example.com:8443/a',
      '//{backend}/a': 'https://www.example.com:8443/a',
      'http://public.test/a': 'https://www.example.com:8443/a',
      'http://www.example.com:8443/a': 'http://www.example.com:8443/a',
    }
    await check(table, { host: 'www.example.com:8443', protocol: 'https' })
    await check({ 'https://{backend}/a': 'http://public.test/a' }, { protocol: 'http' })
  })

  test(`${name}: https of a backend that is asked over http stays`, async () => {
    await check({
      'https://public.test/login': 'https://public.test/login',
      'https://{backend}/login': 'https://public.test/login',
      'https://public.test:8443/login': 'https://public.test:8443/login',
    })
  })

  test(`${name}: a prefix goes before the backend's own paths`, async () => {
    for (const prefix of ['/api', '/api/', { to: '/api' }, { from: '/', to: '/api' }]) {
      const table = {
        'http://{backend}/a?b#c': 'http://public.test/api/a?b#c',
        'http://{backend}': 'http://public.test/api/',
        'http://{backend}?b': 'http://public.test/api/?b',
        'http://{backend}#c': 'http://public.test/api/#c',
        '//{backend}/a': '//public.test/api/a',
        '/a?b#c': '/api/a?b#c',
        '/': '/api/',
        '/?b': '/api/?b',
        '/api/a': '/api/api/a',
        '/a#/b': '/api/a#/b',
        // The client resolves them by its own path.
        a: 'a',
        '../a': '../a',
        '?b': '?b',
        '#c': '#c',
        // Hosts to browsers:
        '//other.test/a': '//other.test/a',
        '///other.test/a': '///other.test/a',
        '/\\other.test/a': '/\\other.test/a',
        '/\t/other.test/a': '/\t/other.test/a',
        'http://other.test/a': 'http://other.test/a',
      }
      await check(table, { prefix })
    }
  })

  test(`${name}: the path of the backend's URL is removed`, async () => {
    const table = {
      'http://{backend}/app/a?b': 'http://public.test/a?b',
      'http://{backend}/app': 'http://public.test/',
      'http://{backend}/app?b': 'http://public.test/?b',
      'http://{backend}/%61pp/a': 'http://public.test/a',
      '/app/a#c': '/a#c',
      '/app#c': '/#c',
      // Not below it: nothing leads there.
      '/apple': '/apple',
      '/other': '/other',
      'http://{backend}/other': 'http://public.test/other',
      // Without the prefix they would be another host.
      '/app//evil.test/': '/app//evil.test/',
      '/app/\\evil.test/': '/app/\\evil.test/',
      '/app/\t/evil.test/': '/app/\t/evil.test/',
    }
    await check(table, {}, '/app')
    await check({ '/app/a': '/api/a', '/app': '/api', '/other': '/other' }, { prefix: '/api' }, '/app')
  })

  test(`${name}: a prefix that the route has added is removed`, async () => {
    const table = { '/app/v1/a': '/a', '/app/v1?b': '/?b', '/v1/a': '/v1/a' }
    await check(table, { prefix: { from: '/app/v1', to: '/' } }, '/app')
    await check({ '/v1/a': '/api/a', '/a': '/a' }, { prefix: { from: '/v1', to: '/api' } })
  })

  test(`${name}: Content-Location and Refresh are rewritten, whatever the status`, async () => {
    await using backend = await sayingBackend()
    await using front = await run(through(backend, [rewriteLocation({ prefix: '/api' })]))
    const own = `http://127.0.0.1:${backend.port}/a`
    for (const status of [200, 201, 202, 303, 304, 404]) {
      for (const header of ['Location', 'location', 'Content-Location']) {
        assert.deepEqual(await said(front, header, [own], { status }), ['http://public.test/api/a'])
      }
    }
    const ours = 'http://public.test/api/a'
    for (const [refresh, expected] of [
      [`5; url=${own}`, `5; url=${ours}`],
      [`0;URL = ${own}`, `0;URL = ${ours}`],
      [`0.5, url="${own}"`, `0.5, url="${ours}"`],
      [`5; url='/a b'`, `5; url='/api/a b'`],
      [`5; url="${own}`, `5; url="${own}`],
      ['5; url=http://other.test/', '5; url=http://other.test/'],
      ['5; url= "/a', '5; url= "/a'],
      ['5', '5'],
      ['5; url=', '5; url='],
      ["$&$1; url='x'", "$&$1; url='x'"],
    ] as const) {
      assert.deepEqual(await said(front, 'Refresh', [refresh], { status: 200 }), [expected], refresh)
    }
    const links = ['Link', 'X-Location', 'Set-Cookie']
    for (const header of links) assert.deepEqual(await said(front, header, [own]), [own])
  })

  test(`${name}: a request without Host leaves URLs as they are`, {
    skip: inHttp2(name, 'node sends :authority in any case'),
  }, async () => {
    await using backend = await sayingBackend()
    await using front = await run(through(backend, [rewriteLocation({ prefix: '/api' })]))
    const own = `http://127.0.0.1:${backend.port}/a`
    assert.deepEqual(await said(front, 'Location', [own], { host: '', version: '1.0' }), [own])
    assert.deepEqual(await said(front, 'Location', ['/a'], { host: '', version: '1.0' }), ['/api/a'])
  })

  test(`${name}: a trusted proxy says which protocol its client uses`, async () => {
    await using backend = await sayingBackend()
    await using front = await run(through(backend, [rewriteLocation()], { trustedProxies: ['loopback'] }))
    const options = { more: 'X-Forwarded-Proto: https\r\n' }
    assert.deepEqual(await said(front, 'Location', ['http://public.test/a'], options), ['https://public.test/a'])
    const own = `http://127.0.0.1:${backend.port}/a`
    assert.deepEqual(await said(front, 'Location', [own], options), ['https://public.test/a'])
  })

  test(`${name}: a backend over TLS that has no TLS towards clients`, async () => {
    await using backend = await sayingBackend({ tls: { key, cert: certificate } })
    const options = through({ url: '' }, [rewriteLocation()])
    const { target: _, ...rest } = options
    const backends = [{ url: backend.url, tls: { ca: certificate } }]
    await using front = await run({ ...rest, backends, hostHeader: 'backend' })
    const own = `https://127.0.0.1:${backend.port}/a`
    assert.deepEqual(await said(front, 'Location', [own]), ['http://public.test/a'])
  })

  test(`${name}: a backend on a unix socket says the host that it was sent`, async () => {
    const socketPath = join(mkdtempSync(join(tmpdir(), 'heddle-')), 'backend')
    await using backend = await sayingBackend({ socketPath })
    await using front = await run(through(backend, [rewriteLocation({ prefix: '/api' })], { hostHeader: 'backend' }))
    assert.deepEqual(await said(front, 'Location', ['http://localhost/a']), ['http://public.test/api/a'])
    assert.deepEqual(await said(front, 'Location', ['http://localhost:81/a']), ['http://localhost:81/a'])
  })

  test(`${name}: after a retry it is the backend that has responded`, async () => {
    await using backend = await sayingBackend()
    const dead = await deadPort()
    const { target: _, ...rest } = through({ url: '' }, [rewriteLocation()])
    await using front = await run({
      ...rest,
      backends: [dead.url, backend.url],
      balancer: 'first-available',
      retry: {},
    })
    const own = `http://127.0.0.1:${backend.port}/a`
    assert.deepEqual(await said(front, 'Location', [own]), ['http://public.test/a'])
    assert.deepEqual(await said(front, 'Location', [`${dead.url}/a`]), [`${dead.url}/a`])
  })

  test(`${name}: a response without a backend stays as it is`, async () => {
    await using backend = await mockBackend()
    const login = interceptor((_next, _exchange, _request, _body, sink) =>
      respond(sink, { status: 302, headers: ['Location', `${backend.url}/login`] }),
    )
    await using front = await run(through(backend, [rewriteLocation({ prefix: '/api' }), login]))
    const response = await fetch(front.url, { redirect: 'manual' })
    assert.equal(response.headers.get('location'), `${backend.url}/login`)
  })

  test(`${name}: a huge URL is rewritten in linear time`, async () => {
    await using backend = await sayingBackend()
    await using front = await run(through(backend, [rewriteLocation({ prefix: '/api' })]))
    for (const location of ['@'.repeat(8000), ' '.repeat(8000), '9;'.repeat(4000)]) {
      const url = `http://a${location}`
      assert.deepEqual(await said(front, 'Location', [`${url}b`]), [`${url}b`])
      assert.deepEqual(await said(front, 'Refresh', [`1; url=${location}"`], { status: 200 }), [`1; url=${location}"`])
    }
  })
}

for (const { name, run } of SECURE_FRONTS) {
  test(`${name}: clients over TLS get https`, async () => {
    await using backend = await mockBackend((request, reply) =>
      reply.send({ status: 302, headers: { Location: `http://${request.header('host')}/login` } }),
    )
    await using front = await run(through(backend, [rewriteLocation()]))
    const agent = new Agent({ connect: { ca: certificate } })
    const { headers, body } = await request(front.url, { dispatcher: agent })
    await body.dump()
    await agent.close()
    assert.equal(headers.location, `${front.url}/login`)
  })
}

test('wrong options name the option, the value and what is allowed', () => {
  for (const [options, message] of [
    [{ host: 'a/b' }, /^rewrite-location: host is "a\/b"; give a host/],
    [{ host: '' }, /host is ""/],
    [{ host: 5 }, /host is 5/],
    [{ host: 'user@a' }, /host is "user@a"/],
    [{ protocol: 'https:' }, /^rewrite-location: protocol is "https:"; give "http" or "https"/],
    [{ prefix: 'api' }, /^rewrite-location: prefix\("api"\): a prefix starts with "\/"/],
    [{ prefix: { from: 'a', to: '/b' } }, /^rewrite-location: prefix.from\("a"\)/],
    [{ prefix: { from: '/a' } }, /^rewrite-location: prefix.to/],
    [{ prefix: null }, /^rewrite-location: prefix is null; give/],
    [{ prefix: { from: '/a', to: '/b', too: 1 } }, /^rewrite-location: prefix: there is no option too/],
    [{ hosts: 'a' }, /^rewrite-location: there is no option hosts; allowed: host, protocol, prefix/],
    [null, /^rewrite-location: the options are null/],
  ] as const) {
    assert.throws(() => rewriteLocation(options as RewriteLocationOptions), { name: 'TypeError', message })
  }
})
