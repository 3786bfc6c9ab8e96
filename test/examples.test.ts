import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import { PACKAGE_ROOT, startScript } from './support/script.ts'
import { visit } from './support/tls-clients.ts'
import { without } from './threads/threaded.ts'

/** The compiled examples; they import 'heddle' as users do, so that the package must have been built. */
const folder = fileURLToPath(new URL('../examples/', import.meta.url))
const names = readdirSync(folder, { withFileTypes: true })
  // Of one in a folder, main.js is what is run.
  .map((entry) => (entry.isDirectory() ? `${entry.name}/main.js` : entry.name))
  .filter((name) => !name.endsWith('.d.ts'))

/** What each example promises. An example without a line here fails. */
const checks: Readonly<Record<string, (url: string) => Promise<void>>> = {
  async 'balancing.js'(url) {
    const answers = [await text(url), await text(url), await text(url)]
    assert.deepEqual(answers.sort(), ['strong\n', 'strong\n', 'weak\n'])
  },
  async 'custom-balancer.js'(url) {
    for (let i = 0; i < 4; i++) assert.equal(await text(url), 'zone b\n')
  },
  async 'custom-logger.js'(url) {
    assert.equal(await text(url), 'the second\n')
  },
  async 'express.js'(url) {
    assert.equal(await text(url), 'the application\n')
    assert.equal(await text(`${url}/api/users?a=1`), 'GET /users?a=1')
  },
  async 'fastify.js'(url) {
    assert.equal(await text(url), 'the application\n')
    assert.equal((await fetch(`${url}/api/users`, { headers: { connection: 'close' } })).status, 401)
    const headers = { authorization: 'secret', connection: 'close' }
    assert.equal(await (await fetch(`${url}/api/users`, { headers })).text(), 'GET /users')
  },
  async 'grpc/main.js'(url) {
    const client = spawn(process.execPath, ['dist/examples/grpc/main.js', 'client', url], { cwd: PACKAGE_ROOT })
    let told = ''
    client.stdout.on('data', (chunk) => {
      told += chunk
    })
    await once(client, 'close')
    assert.deepEqual(told.trim().split('\n').sort(), ['3 apples', 'now 1 pears', 'now 2 pears', 'now 3 pears'])
  },
  async 'hono.js'(url) {
    assert.equal(await text(url), 'the application\n')
    const response = await fetch(`${url}/api/users`, { headers: { connection: 'close' } })
    assert.equal(response.headers.get('access-control-allow-origin'), '*')
    assert.equal(await response.text(), 'GET /users')
  },
  async 'interceptors.js'(url) {
    assert.equal((await fetch(`${url}/private`)).status, 401)
    const authorized = { authorization: 'Bearer secret', connection: 'close' }
    assert.equal(await (await fetch(`${url}/private`, { headers: authorized })).text(), 'hello alice\n')
    const loud = await fetch(`${url}/loud`, { headers: { connection: 'close' } })
    assert.equal(await loud.text(), 'HELLO STRANGER\n')
    assert.equal(await text(`${url}/ping`), 'pong\n')
    const busy = await fetch(`${url}/busy`, { headers: { connection: 'close' } })
    assert.match(busy.headers.get('server-timing') ?? '', /^backend;dur=[\d.]+$/)
    assert.equal(await busy.text(), 'hello stranger\n')
  },
  async 'interceptors-rewrites.js'(url) {
    const get = (path: string, accept = '*/*') =>
      fetch(url + path, { redirect: 'manual', headers: { connection: 'close', accept } })
    const login = await get('/shop/login')
    assert.equal(login.headers.get('location'), `${url}/shop/account`)
    assert.equal(login.headers.get('set-cookie'), 'session=1; Path=/shop; HttpOnly; SameSite=Lax')
    assert.equal((await get('/shop/cart')).headers.get('location'), '/shop/cart/items/1')
    assert.equal(await (await get('/old')).text(), 'GET /new\n')
    assert.match(
      await (await get('/down', 'text/html')).text(),
      /<h1>Bad Gateway<\/h1>.*\(ERR_PROXY_CONNECT, request \d+\)$/,
    )
    const { error } = (await (await get('/down', 'application/json')).json()) as { error: unknown }
    assert.deepEqual(error, { status: 502, title: 'Bad Gateway', code: 'ERR_PROXY_CONNECT' })
    assert.equal(await (await get('/busy')).text(), '503 Service Unavailable: please try again\n')
    assert.equal(await (await get('/down/in-code')).text(), 'GET /down/in-code: Bad Gateway\n')
  },
  async 'interceptors-guards.js'(url) {
    const statusOf = async (path: string, headers: Record<string, string> = {}): Promise<[number, string]> => {
      const response = await fetch(url + path, { headers: { ...headers, connection: 'close' }, redirect: 'manual' })
      return [response.status, await response.text()]
    }
    assert.deepEqual(await statusOf('/shop'), [401, 'log in first\n'])
    assert.deepEqual(await statusOf('/shop', { cookie: 'sid=1' }), [200, 'hello, this is new\n'])
    assert.deepEqual(await statusOf('/shop', { cookie: 'sid=2' }), [200, 'hello bob\n'])
    assert.deepEqual(await statusOf('/office'), [200, 'hello stranger\n'])
    assert.equal((await statusOf('/wiki'))[0], 302)
    assert.deepEqual(await statusOf('/wiki', { cookie: 'sid=1', 'remote-user': 'eve' }), [200, 'hello alice\n'])
    assert.equal((await statusOf('/api'))[0], 401)
    const asked = { origin: 'https://app.example', 'access-control-request-method': 'PUT' }
    const preflight = await fetch(`${url}/api`, { method: 'OPTIONS', headers: { ...asked, connection: 'close' } })
    assert.equal(preflight.status, 204)
    assert.equal(preflight.headers.get('access-control-allow-origin'), 'https://app.example')
  },
  async 'interceptors-bodies.js'(url) {
    assert.equal(await text(`${url}/story`), 'ONCE UPON A TIME\nTHERE WAS A PROXY\n')
    const user = await fetch(`${url}/user`, { headers: { connection: 'close' } })
    assert.equal(user.headers.get('cache-control'), 'private')
    assert.deepEqual(await user.json(), { name: 'alice' })
    const table = await fetch(`${url}/table`, { headers: { connection: 'close', 'accept-encoding': 'gzip' } })
    assert.equal(table.headers.get('content-encoding'), 'gzip')
    assert.equal((await table.text()).length, 2090)
  },
  async 'acme/main.js'(url) {
    // There is no certificate yet, and it says so.
    await assert.rejects(visit(Number(new URL(url).port), { servername: 'heddle.test' }), /handshake failure/)
  },
  async 'https-two-names/main.js'(url) {
    for (const name of ['shop', 'blog']) {
      const servername = `${name}.localhost`
      const request = `GET / HTTP/1.1\r\nHost: ${servername}\r\nConnection: close\r\n\r\n`
      const visited = await visit(Number(new URL(url).port), { servername }, request)
      assert.equal(visited.name, servername)
      assert.ok(visited.text.endsWith(`the ${name}\n`), visited.text)
    }
  },
  async 'koa.js'(url) {
    assert.equal(await text(url), 'the application\n')
    assert.equal(await text(`${url}/api/users?a=1`), 'GET /users?a=1')
  },
  async 'one-backend.js'(url) {
    assert.equal(await text(`${url}/hello`), 'GET /hello')
  },
  async 'pino-logger.js'(url) {
    assert.equal(await text(`${url}/hello`), 'GET /hello')
  },
  async 'routes-and-groups.js'(url) {
    assert.equal(await text(`${url}/api/users`), 'GET /users')
    assert.equal(await text(`${url}/pages`), 'a page\n')
    assert.equal((await fetch(`${url}/else`)).status, 404)
  },
  async 'threads/main.js'(url) {
    // The first goes to either, and each leaves before the next one comes.
    for (let i = 0; i < 4; i++) assert.match(await text(url), /^(?:one|two)\n$/)
  },
  async 'threads-with-express/main.js'(url) {
    assert.equal(await text(url), 'the application\n')
    const response = await fetch(`${url}/api/users?a=1`, { headers: { connection: 'close' } })
    assert.equal(await response.text(), 'GET /users?a=1')
    assert.match(response.headers.get('x-thread') ?? '', /^[12]$/)
  },
  async 'websocket.js'(url) {
    const socket = new WebSocket(url.replace('http:', 'ws:'))
    await once(socket, 'open')
    socket.send('hello')
    assert.equal(String((await once(socket, 'message'))[0]), 'you said hello')
    // Left open: the example ends all the same, and says so.
    socket.once('close', (code) => assert.equal(code, 1001))
  },
}

/** What an example has written by its end, where that is its point. */
const outputs: Readonly<Record<string, RegExp>> = {
  'acme/main.js': /there is no certificate for heddle\.test yet/,
  'custom-logger.js': /^warning: ejected backend http:.+$/m,
  'koa.js': /^GET \/api\/users\?a=1 200 \d+ ms$/m,
  'threads/main.js': /^thread [12]: \/ went to (?:one|two)$[\s\S]*^thread [12] ended \(shutdown\)$/m,
  'threads-with-express/main.js': /^thread 2 started \(2 of 2\)$/m,
  'pino-logger.js': /^\{"level":30,.*"target":"\/hello".*"msg":"request"\}$/m,
}

assert.ok(names.length > 0, `no examples in ${folder}`)

const withoutThreads = await without()

for (const name of names) {
  const skip = name.startsWith('threads') && withoutThreads
  if (name.endsWith('.test.js')) test(`examples/${name} passes`, (t) => passes(t, name))
  else test(`examples/${name} listens, does what it says, and ends gracefully`, { skip }, (t) => runs(t, name))
}

test('examples/README.md lists every example and nothing else', () => {
  const readme = readFileSync(`${PACKAGE_ROOT}/examples/README.md`, 'utf8')
  const listed = Array.from(readme.matchAll(/^\| \[(.+?)\.ts\]/gm), (found) => `${found[1]}.js`)
  assert.deepEqual(listed.sort(), names.sort())
})

async function runs(t: TestContext, name: string): Promise<void> {
  const check = checks[name]
  assert.ok(check !== undefined, `say in test/examples.test.ts what ${name} promises`)
  // Node 22.12 warns if a module outside of node_modules requires an ES module, as heddle/jwt requires jose.
  const script = startScript(t, ['--disable-warning=ExperimentalWarning', folder + name])
  await check(await script.url())
  script.child.kill('SIGTERM')
  const { code, stdout, stderr } = await script.exit()
  assert.equal(code, 0, stderr)
  assert.equal(stderr, '')
  assert.match(stdout, outputs[name] ?? /./)
}

async function passes(t: TestContext, name: string): Promise<void> {
  const { code, stdout, stderr } = await startScript(t, ['--test', folder + name]).exit()
  assert.equal(code, 0, stdout + stderr)
  assert.doesNotMatch(stdout, /^(?:#|ℹ) pass 0$/m)
}

async function text(url: string): Promise<string> {
  return (await fetch(url, { headers: { connection: 'close' } })).text()
}
