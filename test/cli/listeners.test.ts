import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { mockBackend } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { curl, withoutCurl } from '../support/curl.ts'
import { without } from '../threads/threaded.ts'
import { directory, type Running, run, start } from './command.ts'

const skipThreads = await without()
const LOCAL = { host: '127.0.0.1', port: 0 }
const SECURE = { ...LOCAL, tls: { cert: 'cert.pem', key: 'key.pem' } }
const REDIRECT = { ...LOCAL, redirect: 'https' }

function folder(t: TestContext, config: object): string {
  const cwd = directory(t, { 'heddle.config.json': JSON.stringify(config) })
  writeFileSync(join(cwd, 'cert.pem'), certificate)
  writeFileSync(join(cwd, 'key.pem'), key)
  return cwd
}

/** The URLs of the start line. */
async function urls(heddle: Running): Promise<URL[]> {
  const [, list = ''] = await heddle.output(/heddle [\d.]+ listening on (.*?);/)
  return list.split(', ').map((each) => new URL(each.replace(/ .*/, '')))
}

async function get(url: URL): Promise<string> {
  const response = await fetch(url, { headers: { connection: 'close' } })
  return `${response.status} ${await response.text()}`
}

/** The response to raw bytes, until the server ends the connection. */
async function raw({ port }: URL, request: string): Promise<string> {
  const socket = net.connect(Number(port), '127.0.0.1')
  socket.end(request)
  let text = ''
  for await (const chunk of socket) text += chunk
  return text
}

for (const threads of [1, 2]) {
  test(`it listens on several addresses, http and https (threads: ${threads})`, {
    skip: threads > 1 && skipThreads,
  }, async (t) => {
    await using backend = await mockBackend(Array(3).fill({ body: 'hello' }))
    const heddle = start(t, [], folder(t, { target: backend.url, threads, listen: ['127.0.0.1:0', SECURE, LOCAL] }))
    const [first, secure, third] = await urls(heddle)
    assert.ok(first && secure && third)
    assert.equal(await get(first), '200 hello')
    assert.equal(await get(third), '200 hello')
    assert.equal(secure.protocol, 'https:')
    const { get: getSecure } = await import('node:https')
    const [response] = (await once(getSecure(secure, { ca: certificate, agent: false }), 'response')) as [
      http.IncomingMessage,
    ]
    assert.equal(response.statusCode, 200)
    response.resume()
    await once(response, 'close')
    heddle.child.kill('SIGTERM')
    assert.equal((await heddle.exit()).code, 0)
  })
}

test('addresses share the state of the backends, with threads as well', { skip: skipThreads }, async (t) => {
  // Nobody listens there: the failures of both addresses count together.
  const dead = net.createServer().listen(0, '127.0.0.1')
  await once(dead, 'listening')
  const { port } = dead.address() as net.AddressInfo
  dead.close()
  await using backend = await mockBackend(Array(20).fill({ body: 'hello' }))
  const config = {
    backends: [backend.url, `http://127.0.0.1:${port}`],
    balancer: 'round-robin',
    healthCheck: { consecutiveFailures: 2, baseMs: 60_000 },
    retry: false,
    threads: 2,
    listen: [LOCAL, '127.0.0.1:0'],
  }
  const heddle = start(t, [], folder(t, config))
  const [first, second] = await urls(heddle)
  assert.ok(first && second)
  // Until a backend is ejected, then none fails at either address.
  const results: string[] = []
  for (let i = 0; i < 20 && !/ejected/.test(heddle.stderr()); i++) results.push(await get(i % 2 ? first : second))
  await heddle.output(/ejected/)
  for (const url of [first, second, first, second]) assert.equal(await get(url), '200 hello')
})

test('the start line names listeners, backends, groups and threads, on standard error', {
  skip: skipThreads,
}, async (t) => {
  const groups = { a: { backends: ['http://127.0.0.1:1', 'http://127.0.0.1:2'] }, b: { target: 'http://127.0.0.1:3' } }
  const routes = [{ path: '/a', group: 'a' }, { group: 'b' }]
  const config = { groups, routes, threads: 2, listen: [LOCAL, SECURE, REDIRECT] }
  const heddle = start(t, [], folder(t, config))
  const [line] = await heddle.output(/heddle 0\.\S+ listening on .*?threads/)
  assert.match(
    line,
    /^heddle 0\.\d+\.\d+ listening on http:\/\/127\.0\.0\.1:\d+, https:\/\/127\.0\.0\.1:\d+, http:\/\/127\.0\.0\.1:\d+ \(redirects to https\); 3 backends in 2 groups; 4 threads$/,
  )
  assert.doesNotMatch(line, /:0\b/)
  assert.equal(heddle.stdout(), '')
  assert.equal(heddle.stderr().match(/listening on/g)?.length, 1)
})

test('a port in use among several ends the command with 1', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  for (const listen of [
    [LOCAL, `127.0.0.1:${port}`],
    [SECURE, { ...REDIRECT, port }],
  ]) {
    const { code, stderr } = await run(
      t,
      [],
      folder(t, { target: 'http://127.0.0.1:1', listen, log: { level: 'error' } }),
    )
    assert.equal(code, 1)
    assert.match(stderr, new RegExp(`^heddle: cannot listen on 127\\.0\\.0\\.1:${port}: .*EADDRINUSE.*\\n$`))
  }
})

test('a redirect sends each request to https, with its host, path and query', async (t) => {
  const heddle = start(t, [], folder(t, { target: 'http://127.0.0.1:1', listen: [REDIRECT, SECURE] }))
  const [redirect, secure] = await urls(heddle)
  assert.ok(redirect && secure)
  const cases: [request: string, location: string][] = [
    ['GET /a/b?c=%2F HTTP/1.1\r\nHost: example.com', `https://example.com:${secure.port}/a/b?c=%2F`],
    ['GET / HTTP/1.1\r\nHost: example.com:8080', `https://example.com:${secure.port}/`],
    ['GET /x HTTP/1.1\r\nHost: [::1]:80', `https://[::1]:${secure.port}/x`],
    ['POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc', `https://a:${secure.port}/p`],
    ['GET /old HTTP/1.0\r\nHost: a', `https://a:${secure.port}/old`],
    ['GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket', `https://a:${secure.port}/ws`],
  ]
  for (const [request, location] of cases) {
    const text = await raw(redirect, request.includes('\r\n\r\n') ? request : `${request}\r\n\r\n`)
    assert.match(text, /^HTTP\/1\.[01] 308 /, request)
    assert.equal(/^location: (.*)\r$/im.exec(text)?.[1], location)
  }
})

test('a redirect without a usable host is a 400', async (t) => {
  const heddle = start(t, [], folder(t, { target: 'http://127.0.0.1:1', listen: [REDIRECT, SECURE] }))
  const [redirect] = await urls(heddle)
  assert.ok(redirect)
  for (const head of [
    'GET / HTTP/1.0',
    'GET / HTTP/1.1',
    'GET / HTTP/1.1\r\nHost: a@b',
    'GET / HTTP/1.1\r\nHost: a/b',
    'OPTIONS * HTTP/1.1\r\nHost: a',
  ]) {
    const text = await raw(redirect, `${head}\r\n\r\n`)
    assert.match(text, /^HTTP\/1\.[01] 400 /, head)
    assert.doesNotMatch(text, /location/i)
  }
  // Its requests are in the access log.
  heddle.child.kill('SIGTERM')
  const { code, stdout } = await heddle.exit()
  assert.equal(code, 0)
  assert.match(stdout, /"GET \/ HTTP\/1\.0" 400 /)
})

test('a redirect has the head limit of the configuration', async (t) => {
  const limits = { headTimeoutMs: 100 }
  const heddle = start(t, [], folder(t, { target: 'http://127.0.0.1:1', limits, listen: [REDIRECT, SECURE] }))
  const [redirect] = await urls(heddle)
  const socket = net.connect(Number(redirect?.port), '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\n')
  let text = ''
  for await (const chunk of socket) text += chunk
  assert.match(text, /^HTTP\/1\.1 408 /)
})

test('proxyProtocol: listeners and redirects read the header of a load balancer', async (t) => {
  await using backend = await mockBackend([{ body: 'hello' }])
  const proxyProtocol = ['loopback']
  const listen = [
    { ...SECURE, proxyProtocol },
    { ...REDIRECT, proxyProtocol },
    { ...LOCAL, proxyProtocol },
  ]
  const heddle = start(t, ['--access-log', 'common'], folder(t, { target: backend.url, listen }))
  const [, redirect, plain] = await urls(heddle)
  assert.ok(redirect && plain)
  const request = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
  assert.match(await raw(plain, `PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n${request}`), /^HTTP\/1\.1 200 OK/)
  assert.match(await raw(redirect, `PROXY TCP4 192.0.2.8 198.51.100.1 4711 80\r\n${request}`), /^HTTP\/1\.1 308 /)
  assert.equal(await raw(plain, request), '')
  await heddle.output(/^192\.0\.2\.7 /m)
  await heddle.output(/^192\.0\.2\.8 /m)
})

test('https offers HTTP/2 and HTTP/1.1; protocols says otherwise', { skip: withoutCurl }, async (t) => {
  await using backend = await mockBackend()
  const listen = [SECURE, { ...SECURE, protocols: ['http/1.1'] }, { ...LOCAL, protocols: ['h2'] }]
  const heddle = start(t, [], folder(t, { target: backend.url, listen }))
  const [both, old, clear] = await urls(heddle)
  assert.ok(both && old && clear)
  const version = '%{http_version} %{http_code}'
  for (const [url, args, expected] of [
    [both, ['--insecure'], '2 200'],
    [both, ['--insecure', '--http1.1'], '1.1 200'],
    [old, ['--insecure'], '1.1 200'],
    [clear, ['--http2-prior-knowledge'], '2 200'],
  ] as const) {
    const { stdout } = await curl(['--output', '/dev/null', '--write-out', version, ...args, url.href])
    assert.equal(String(stdout), expected)
  }
})

test('wrong listeners are reported with their places', async (t) => {
  const config = `target: http://a
listen:
  - nowhere
  - { prot: 1 }
  - { port: 8443, host: 5, tls: yes please }
  - { port: 80, redirect: http }
  - { port: 81, redirect: https, tls: { crt: a } }
  - 127.0.0.1:9000
  - { port: 9000, host: 127.0.0.1 }
  - { port: 82, proxyProtocol: yes please }
  - { port: 83, proxyProtocol: [10.0.0.0/33] }
  - { port: 9001, protocols: [h3] }
  - { port: 9002, protocols: [h2], redirect: https }
`
  const cwd = directory(t, { 'x.yaml': config })
  const { code, stderr } = await run(t, ['check', 'x.yaml'], cwd)
  assert.equal(code, 2)
  for (const line of [
    '3:5: listen[0] is "nowhere"',
    '4:7: listen[1].prot is unknown; did you mean port?',
    '4:5: listen[1].port is missing',
    '5:25: listen[2].host is 5',
    '5:33: listen[2].tls is "yes please"',
    '6:27: listen[3].redirect is "http"',
    '7:27: listen[4].redirect is set beside tls',
    '7:41: listen[4].tls.crt is unknown; did you mean cert?',
    '7:39: listen[4].tls has neither cert nor key',
    '9:5: listen[6] is the same address as listen[5]',
    '10:32: listen[7].proxyProtocol is "yes please"',
    '11:32: listen[8].proxyProtocol is invalid: "10.0.0.0/33" is neither an address nor a CIDR range; use 10.0.0.0/8, 2001:db8::/32, 192.0.2.7, loopback, private or unix',
    '12:30: listen[9].protocols is ["h3"]',
    '13:30: listen[10].protocols is set beside redirect',
  ]) {
    assert.ok(stderr.includes(`x.yaml:${line}\n`), `${line} in ${stderr}`)
  }
  const lonely = directory(t, {
    'x.yaml': 'target: http://a\nlisten: [{ port: 80, redirect: https }]\n',
    'e.yaml': 'target: http://a\nlisten: []\n',
  })
  assert.match(
    (await run(t, ['check', 'x.yaml'], lonely)).stderr,
    /x\.yaml:2:9: listen redirects to https, but no listener has tls\n/,
  )
  const many = directory(t, { 'm.json': JSON.stringify({ target: 'http://a', threads: 2, listen: Array(65).fill(0) }) })
  assert.match((await run(t, ['check', 'm.json'], many)).stderr, /m\.json:1:\d+: listen has 65 addresses\n/)
  assert.match((await run(t, ['check', 'e.yaml'], lonely)).stderr, /e\.yaml:2:9: listen is an empty list\n/)
})

test('host:port, :port and a port alone are backends on http', async (t) => {
  const server = http.createServer((req, res) => res.end(`hello ${req.url}`)).listen(0, 'localhost')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  for (const backend of [`localhost:${port}`, `:${port}`, `${port}`, `localhost:${port}/base`]) {
    const heddle = start(t, ['-l', '127.0.0.1:0', '-b', backend])
    const base = backend.endsWith('base') ? '/base' : ''
    assert.equal(await get(new URL('/x', await heddle.url())), `200 hello ${base}/x`)
  }
})
