import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { type CorsOptions, cors, ProxyError } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse } from '../support/raw-client.ts'
import { ALL_FRONTS, runInServer, runProxy } from '../support/running-proxy.ts'

const APP = 'https://app.example'

/** The CORS headers of a response, and `Vary`. */
function sharing({ headers }: Response): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => /^access-control-|^vary$/.test(name)))
}

const preflight = (origin: string, method = 'PUT', more: Record<string, string> = {}): RequestInit => ({
  method: 'OPTIONS',
  headers: { origin, 'access-control-request-method': method, ...more },
})

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: a preflight is responded to without a backend`, async () => {
    await using backend = await mockBackend()
    const guard = cors({
      origins: [APP],
      methods: ['GET', 'PUT'],
      headers: ['Content-Type', 'X-Token'],
      maxAgeSeconds: 60,
    })
    await using front = await run(through(backend, [guard]))
    const response = await fetch(front.url, preflight(APP))
    assert.equal(response.status, 204)
    assert.deepEqual(sharing(response), {
      'access-control-allow-origin': APP,
      'access-control-allow-methods': 'GET, PUT',
      'access-control-allow-headers': 'Content-Type, X-Token',
      'access-control-max-age': '60',
      vary: 'Origin',
    })
    // Another origin learns nothing.
    const other = await fetch(front.url, preflight('https://evil.example'))
    assert.deepEqual([other.status, sharing(other)], [204, { vary: 'Origin' }])
    assert.equal((await front.nextRecord()).outcome, 'local')
    assert.equal(backend.requests.length, 0)
  })

  test(`${name}: another OPTIONS goes on`, async () => {
    await using backend = await mockBackend()
    await using front = await run(through(backend, [cors({ origins: [APP] })]))
    const ordinary = [{ origin: APP }, { 'access-control-request-method': 'PUT' }, {}] as Record<string, string>[]
    for (const headers of ordinary)
      assert.equal(await (await fetch(front.url, { method: 'OPTIONS', headers })).text(), 'OPTIONS /')
    const get = await fetch(front.url, { headers: { origin: APP, 'access-control-request-method': 'PUT' } })
    assert.equal(await get.text(), 'GET /')
  })

  test(`${name}: the CORS headers of the backend are replaced`, async () => {
    const theirs = [
      ...['Access-Control-Allow-Origin', '*', 'access-control-allow-origin', 'https://a.example'],
      ...['Access-Control-Allow-Credentials', 'true', 'Access-Control-Expose-Headers', 'X-Secret'],
      ...['Access-Control-Allow-Methods', 'DELETE', 'Access-Control-Max-Age', '9', 'Vary', 'Accept'],
    ]
    await using backend = await mockBackend({ headers: theirs, body: 'x' })
    await using front = await run(through(backend, [cors({ origins: [APP], exposedHeaders: ['X-Total', 'ETag'] })]))
    const shared = await fetch(front.url, { headers: { origin: APP } })
    assert.deepEqual(sharing(shared), {
      'access-control-allow-origin': APP,
      'access-control-expose-headers': 'X-Total, ETag',
      vary: 'Accept, Origin',
    })
    for (const headers of [{ origin: 'https://evil.example' }, {}] as Record<string, string>[])
      assert.deepEqual(sharing(await fetch(front.url, { headers })), { vary: 'Accept, Origin' })
  })

  test(`${name}: credentials are shared only if that is said`, async () => {
    await using backend = await mockBackend()
    await using front = await run(through(backend, [cors({ origins: [APP], credentials: true })]))
    const expected = { 'access-control-allow-origin': APP, 'access-control-allow-credentials': 'true', vary: 'Origin' }
    assert.deepEqual(sharing(await fetch(front.url, { headers: { origin: APP } })), expected)
    const before = sharing(await fetch(front.url, preflight(APP)))
    assert.equal(before['access-control-allow-credentials'], 'true')
    assert.equal(before['access-control-allow-methods'], 'GET, HEAD, POST, PUT, PATCH, DELETE')
    assert.equal(before['access-control-allow-headers'], undefined)
    assert.equal(before['access-control-max-age'], '600')
  })

  test(`${name}: every origin may read, cached responses too`, async () => {
    await using backend = await mockBackend()
    await using front = await run(through(backend, [cors({ origins: '*', headers: '*', exposedHeaders: ['*'] })]))
    const any = { 'access-control-allow-origin': '*', 'access-control-expose-headers': '*' }
    for (const headers of [{ origin: 'https://any.example' }, { origin: 'null' }, {}] as Record<string, string>[])
      assert.deepEqual(sharing(await fetch(front.url, { headers })), any)
    const asked = await fetch(front.url, preflight(APP, 'GET', { 'access-control-request-headers': 'x-a,x-b' }))
    assert.equal(asked.headers.get('access-control-allow-headers'), 'x-a,x-b')
    assert.equal(asked.headers.get('vary'), 'Access-Control-Request-Headers')
  })

  test(`${name}: a page may read our own response to the failure of a backend`, async () => {
    const { url } = await deadPort()
    await using front = await run(through({ url }, [cors({ origins: [APP], credentials: true })]))
    const failed = await fetch(front.url, { headers: { origin: APP } })
    assert.equal(failed.status, 502)
    assert.equal(await failed.text(), '502 Bad Gateway (ERR_PROXY_CONNECT)\n')
    assert.deepEqual(sharing(failed), {
      'access-control-allow-origin': APP,
      'access-control-allow-credentials': 'true',
      vary: 'Origin',
    })
    const other = await fetch(front.url, { headers: { origin: 'https://evil.example' } })
    assert.deepEqual([other.status, sharing(other)], [502, { vary: 'Origin' }])
    const [error] = front.errors
    assert.deepEqual(
      [error?.code, error?.phase, error?.attempt, error?.blamesBackend, error?.backend?.url.origin],
      ['ERR_PROXY_CONNECT', 'connect', 1, true, url],
    )
    assert.match(String(error?.cause), /ECONNREFUSED/)
    assert.equal((await front.nextRecord()).outcome, 'failed')
  })

  test(`${name}: a WebSocket of another site is refused`, async () => {
    await using backend = await echoBackend()
    await using front = await run(through(backend, [cors({ origins: [APP] })]))
    const where = front.url.replace('http', 'ws')
    const { host } = new URL(front.url)
    for (const origin of [
      'https://evil.example',
      'null',
      'https://app.example.evil.example',
      `http://x.${host}`,
      'junk',
    ]) {
      const socket = new WebSocket(where, { origin })
      const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
      assert.equal(response.statusCode, 403, origin)
    }
    // A listed one, a page of the host itself (whatever its scheme), and what is no browser.
    for (const origin of [APP, `http://${host}`, `https://${host}`, undefined]) {
      const socket = new WebSocket(where, { ...(origin !== undefined && { origin }) })
      await once(socket, 'open')
      socket.terminate()
    }
  })
}

test('a response that says that it depends on the origin says so once', async () => {
  await using backend = await mockBackend([
    { headers: ['Vary', 'accept, ORIGIN'] },
    { headers: ['Vary', '*'] },
    { headers: ['Vary', 'X-Origin', 'Vary', 'Accept'] },
  ])
  await using front = await runProxy(through(backend, [cors({ origins: [APP] })]))
  const seen: (string | null)[] = []
  for (let i = 0; i < 3; i++) seen.push((await fetch(front.url)).headers.get('vary'))
  assert.deepEqual(seen, ['accept, ORIGIN', '*', 'X-Origin, Accept, Origin'])
})

test('an error keeps the headers that it has', async () => {
  await using backend = await mockBackend()
  const busy = interceptor(
    (_next, _exchange, _request, _body, sink) => sink.onError(new ProxyError('ERR_PROXY_POOL_FULL', 'busy')),
    'busy',
  )
  await using front = await runProxy(through(backend, [cors({ origins: [APP] }), busy]))
  const response = await fetch(front.url, { headers: { origin: APP } })
  assert.deepEqual([response.status, response.headers.get('retry-after')], [503, '1'])
  assert.equal(response.headers.get('access-control-allow-origin'), APP)
})

test("an application's error handler gets the headers", async () => {
  const { url } = await deadPort()
  await using front = await runInServer(through({ url }, [cors({ origins: [APP] })]), (proxy) => {
    const handle = proxy.middleware({ passErrors: true })
    return http.createServer((req, res) =>
      handle(req, res, (error) => {
        const { status, headers } = error as { status: number; headers: Record<string, string> }
        res.writeHead(status, headers).end('our page')
      }),
    )
  })
  const response = await fetch(front.url, { headers: { origin: APP } })
  assert.deepEqual([response.status, await response.text()], [502, 'our page'])
  assert.equal(response.headers.get('access-control-allow-origin'), APP)
})

test('origins are compared as browsers send them, and patterns stand for subdomains', async () => {
  await using backend = await mockBackend()
  const origins = [
    APP,
    'http://localhost:3000',
    'https://*.pages.example',
    'https://*.dev.example:8443',
    'null',
    'capacitor://localhost',
  ]
  await using front = await runProxy(through(backend, [cors({ origins })]))
  const isShared = async (origin: string): Promise<boolean> => {
    // Not fetch(): it would not send all of these.
    const { text } = await converse(
      front.port,
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nOrigin: ${origin}\r\n\r\n`,
    )
    const found = /^access-control-allow-origin: (.*)\r$/im.exec(text)?.[1]
    assert.ok(found === undefined || found === origin, found)
    return found !== undefined
  }
  for (const origin of [
    APP,
    'http://localhost:3000',
    'https://a.pages.example',
    'https://pr-7.b.pages.example',
    'https://x.dev.example:8443',
    'null',
    'capacitor://localhost',
  ])
    assert.ok(await isShared(origin), origin)
  for (const origin of [
    'http://app.example',
    'https://app.example:8443',
    'https://app.example/',
    'https://APP.example',
    'https://xapp.example',
    'https://app.example.evil.example',
    'http://localhost',
    'https://pages.example',
    'https://.pages.example',
    'http://a.pages.example',
    'https://a.pages.example:8443',
    'https://evil.example/.pages.example',
    'https://evil.example#.pages.example',
    'https://a@evil.pages.example',
    'https://x.dev.example',
    'NULL',
    '*',
    'https://*.pages.example',
  ])
    assert.ok(!(await isShared(origin)), origin)
})

test('wrong options are refused at once', () => {
  const wrong: [unknown, RegExp][] = [
    [undefined, /cors: the options are missing; give an object/],
    [{}, /cors: origins is missing; give '\*' or a list such as \['https:\/\/app\.example'\]/],
    [{ origins: [] }, /cors: origins is \[\]; give '\*' or a list/],
    [{ origins: APP }, /cors: origins is "https:\/\/app\.example"; give '\*' or a list/],
    [{ origins: [/x/] }, /cors: origins is \[\{\}\]; give a list of strings/],
    [{ origins: ['*'] }, /cors: a member of origins is "\*"; give origins as browsers send them/],
    [{ origins: ['app.example'] }, /cors: a member of origins is "app\.example"; give origins as browsers send them/],
    [
      { origins: ['https://app.example/'] },
      /cors: a member of origins is "https:\/\/app\.example\/"; give origins as browsers send them/,
    ],
    [{ origins: ['https://App.example'] }, /give origins as browsers send them/],
    [{ origins: ['https://app.example:443'] }, /give origins as browsers send them/],
    [{ origins: ['https://a.*.example'] }, /give origins as browsers send them/],
    [{ origins: ['https://*app.example'] }, /give origins as browsers send them/],
    [
      { origins: '*', credentials: true },
      /cors: origins is "\*"; give other origins: with credentials: true it would let every site act as the user/,
    ],
    [
      { origins: [APP, 'null'], credentials: true },
      /cors: a member of origins is "null"; give other origins: with credentials: true/,
    ],
    [
      { origins: [APP], credentials: true, methods: ['*'] },
      /cors: a member of methods is "\*"; give names: with credentials/,
    ],
    [
      { origins: [APP], credentials: true, headers: ['*'] },
      /cors: a member of headers is "\*"; give names: with credentials/,
    ],
    [
      { origins: [APP], credentials: true, exposedHeaders: ['*'] },
      /cors: a member of exposedHeaders is "\*"; give names: with credentials/,
    ],
    [{ origins: [APP], credentials: 'yes' }, /cors: credentials is "yes"; give true or false/],
    [{ origins: [APP], methods: 'GET' }, /cors: methods is "GET"; give a list of strings, such as \['GET', 'PUT'\]/],
    [{ origins: [APP], methods: ['GET, PUT'] }, /cors: a member of methods is "GET, PUT"; give a name/],
    [{ origins: [APP], headers: ['a b'] }, /cors: a member of headers is "a b"; give a name/],
    [{ origins: [APP], exposedHeaders: [''] }, /cors: a member of exposedHeaders is ""; give a name/],
    [{ origins: [APP], maxAgeSeconds: -1 }, /cors: maxAgeSeconds is -1; give a whole number from 0 on/],
    [{ origins: [APP], maxAge: 5 }, /cors: there is no option maxAge; allowed: origins, methods/],
  ]
  for (const [options, message] of wrong) {
    assert.throws(
      () => cors(options as CorsOptions),
      (error: unknown) => error instanceof TypeError && message.test(error.message),
      String(message),
    )
  }
})
