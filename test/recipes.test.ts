import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type RequestListener } from 'node:http'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import express from 'express'
import session from 'express-session'
import { WebSocket, WebSocketServer } from 'ws'
import { type Given, recipes } from './snippets/recipes.ts'
import { blocksOf } from './support/blocks.ts'
import { certificate, key } from './support/certificates.ts'
import { listening } from './support/running-proxy.ts'

/** What a recipe promises, asked of a server that has it. */
interface Check {
  /** The target; default: it says what it was asked for. */
  readonly target?: RequestListener
  /** The target has TLS; its name. */
  readonly tls?: string
  readonly onUnixSocket?: boolean
  run(front: Front): Promise<void>
}

interface Front {
  readonly url: string
  readonly log: readonly string[]
  /** Status and text of a response. */
  get(path: string, init?: RequestInit): Promise<string>
  /** Names that clients of TLS have asked for. */
  readonly names: readonly unknown[]
}

const describe: RequestListener = async (req, res) => {
  let body = ''
  for await (const chunk of req) body += chunk
  res.end(`${req.method} ${req.url}${body && ` ${body}`}`)
}

/** Says which value a header has. */
const header =
  (name: string): RequestListener =>
  (req, res) =>
    void res.end(`${req.headers[name]}`)

const CHECKS: Readonly<Record<string, Check>> = {
  'Remove or replace a prefix': {
    async run({ get }) {
      assert.equal(await get('/api/users?a=1'), '200 GET /rest/users?a=1')
      assert.match(await get('/else'), /^404 /)
    },
  },
  'Rewrite paths by a regular expression': {
    async run({ get }) {
      assert.equal(await get('/shop/old/1?a=1'), '200 GET /new/shop/1?a=1')
      assert.equal(await get('/shop/1'), '200 GET /shop/1')
    },
  },
  'Choose the target for each request, asynchronously': {
    async run({ get }) {
      assert.equal(await get('/a'), '200 GET /a')
      assert.match(await get('/unknown'), /^500 /)
    },
  },
  'A header from the session': {
    target: header('x-user'),
    run: async ({ get }) => assert.equal(await get('/'), '200 Ada'),
  },
  'A token that is fetched first': {
    target: header('authorization'),
    run: async ({ get }) => assert.equal(await get('/'), '200 Bearer secret'),
  },
  'Change the body of responses, compressed or not': {
    target(req, res) {
      res.setHeader('Content-Type', 'text/html')
      if (req.url === '/plain') return void res.end('Hello')
      res.setHeader('Content-Encoding', 'gzip')
      res.end(gzipSync('Hello'))
    },
    async run({ get }) {
      assert.equal(await get('/plain'), '200 Goodbye')
      assert.equal(await get('/gzip'), '200 Goodbye')
    },
  },
  'Respond with something else than the target has': {
    target: (_req, res) => void res.writeHead(201, { 'Content-Type': 'text/plain' }).end('hello'),
    async run({ url }) {
      const response = await fetch(url)
      assert.equal(response.headers.get('content-type'), 'application/json')
      assert.deepEqual(await response.json(), { status: 201, text: 'hello' })
    },
  },
  'Redirects and cookies that name the target': {
    target(req, res) {
      const cookies = ['a=1; Domain=internal.test; Path=/app', 'b=2; Path=/else']
      res.writeHead(302, { Location: `http://127.0.0.1:${req.socket.localPort}/app/a`, 'Set-Cookie': cookies }).end()
    },
    async run({ url }) {
      const { headers } = await fetch(url, { redirect: 'manual' })
      assert.equal(headers.get('location'), `${url}/app/a`)
      assert.deepEqual(headers.getSetCookie().slice(0, 2), ['a=1; Path=/', 'b=2; Path=/else'])
    },
  },
  'A target with TLS, by its name (SNI)': {
    tls: 'localhost',
    target: header('host'),
    async run({ get, names }) {
      assert.match(await get('/'), /^200 localhost:\d+$/)
      assert.deepEqual(names, ['localhost'])
    },
  },
  'A target with a self-signed certificate': {
    tls: '127.0.0.1',
    run: async ({ get }) => assert.equal(await get('/'), '200 GET /'),
  },
  'Basic authentication at the target': {
    target: header('authorization'),
    run: async ({ get }) => assert.equal(await get('/'), `200 Basic ${btoa('user:password')}`),
  },
  Timeouts: {
    target() {},
    run: async ({ get }) => assert.match(await get('/'), /^504 /),
  },
  'A line in the log for each request': {
    async run({ get, log }) {
      await get('/a')
      assert.equal(log.length, 1)
      assert.match(log[0] ?? '', /GET \/a .*\b200\b/)
    },
  },
  'Decide by a function what is proxied': {
    async run({ get }) {
      assert.equal(await get('/a.json'), '200 GET /a.json')
      assert.match(await get('/a.json', { method: 'POST' }), /^404 /)
      assert.match(await get('/a.html'), /^404 /)
    },
  },
  'A target on a unix socket': {
    onUnixSocket: true,
    run: async ({ get }) => assert.equal(await get('/a'), '200 GET /a'),
  },
  'Change a JSON body': {
    async run({ get }) {
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' }
      assert.equal(await get('/', init), '200 POST / {"a":1,"tenant":"a"}')
    },
  },
  'A body that a parser has read': {
    async run({ get }) {
      const post = (type: string, body: string) => get('/', { method: 'POST', headers: { 'content-type': type }, body })
      assert.equal(await post('application/json', '{ "a": 1.0 }'), '200 POST / { "a": 1.0 }')
      assert.equal(await post('application/x-www-form-urlencoded', 'a[b]=1&a[b]=2'), '200 POST / a[b]=1&a[b]=2')
    },
  },
  'Follow redirects': {
    target(req, res) {
      if (req.url === '/there') res.end('arrived')
      else res.writeHead(302, { Location: '/there' }).end()
    },
    run: async ({ get }) => assert.equal(await get('/'), '200 arrived'),
  },
  'An error page': {
    target: (req) => void req.socket.destroy(),
    async run({ get }) {
      assert.equal(await get('/', { headers: { accept: 'text/html' } }), '502 <h1>502 Bad Gateway</h1>')
    },
  },
  WebSocket: {
    async run({ url, get }) {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/a`)
      await once(socket, 'open')
      socket.send('hello')
      assert.equal(String((await once(socket, 'message'))[0]), '/a: hello')
      socket.terminate()
      assert.equal(await get('/b'), '200 GET /b')
    },
  },
}

for (const [name, recipe] of Object.entries(recipes)) {
  const check = CHECKS[name]
  assert.ok(check !== undefined, `say in test/recipes.test.ts what "${name}" promises`)
  for (const kind of ['own', 'dropIn'] as const) test(`${name}: ${kind}`, () => serves(check, recipe[kind]))
}

async function serves(check: Check, apply: (given: Given) => void): Promise<void> {
  const servers: http.Server[] = []
  try {
    await servesWith(servers, check, apply)
  } finally {
    for (const server of servers) server.close().closeAllConnections()
  }
}

async function servesWith(servers: http.Server[], check: Check, apply: (given: Given) => void): Promise<void> {
  const names: unknown[] = []
  const listener = check.target ?? describe
  const isSecure = check.tls !== undefined
  const backend = isSecure ? https.createServer({ key, cert: certificate }, listener) : http.createServer(listener)
  backend.on('secureConnection', (socket: { servername?: unknown }) => names.push(socket.servername))
  const sockets = new WebSocketServer({ server: backend })
  sockets.on('connection', (socket, req) => socket.on('message', (text) => socket.send(`${req.url}: ${text}`)))
  const socketPath = join(tmpdir(), `heddle-recipe-${process.pid}.sock`)
  if (check.onUnixSocket === true) await new Promise<void>((resolve) => backend.listen(socketPath, resolve))
  const port = check.onUnixSocket === true ? 0 : await listening(backend)
  servers.push(backend)

  const app = express()
  app.set('env', 'test')
  const server = http.createServer(app)
  const url = `http://127.0.0.1:${await listening(server)}`
  servers.push(server)
  const log: string[] = []
  const target = `${isSecure ? 'https' : 'http'}://${check.tls ?? '127.0.0.1'}:${port}`
  const note = (line: string): void => void log.push(line)
  app.use(session({ secret: 'x', resave: false, saveUninitialized: false }))
  app.use((req, _res, next) => {
    req.session.user = 'Ada'
    next()
  })
  apply({
    app,
    server,
    target,
    socketPath,
    ca: certificate,
    logger: { info: note, warn: note, error: note },
    async findTarget({ url }: { url?: string }) {
      if (url === '/unknown') throw new Error('no target')
      return target
    },
    getToken: async () => 'secret',
  })
  await check.run({
    url,
    log,
    names,
    async get(path, init) {
      const response = await fetch(url + path, { redirect: 'manual', ...init })
      return `${response.status} ${await response.text()}`
    },
  })
}

test('docs/recipes.md has the recipes that run, each in both ways', () => {
  const blocks = blocksOf('docs/recipes.md').filter(({ language }) => language === 'ts')
  assert.deepEqual(
    blocks.map(({ section }) => section),
    Object.keys(recipes).flatMap((name) => [name, name]),
  )
})
