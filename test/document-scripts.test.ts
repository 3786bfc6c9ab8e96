import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { type Block, blocksOf, documents } from './support/blocks.ts'
import { certificate, key } from './support/certificates.ts'
import { freePort } from './support/ports.ts'
import { PACKAGE_ROOT, type Script, startScript } from './support/script.ts'
import { without } from './threads/threaded.ts'

/*
 * Blocks after `<!-- test -->` are complete programs. Each is run as a user runs it: copied into an empty folder as example.mjs, with its
 * packages installed. Only its ports (8080, 8443, 3001 ...) are replaced by free ones.
 */

/** A program that runs. */
interface Running {
  readonly script: Script
  /** Where it says that it listens. */
  url(): Promise<string>
  /** The port in place of one in the document. */
  port(name: string): number | undefined
  /** Status and text of a response. */
  get(path: string): Promise<string>
}
type Check = (running: Running, t: TestContext) => Promise<void>
interface Program {
  /** The program listens on 3001 and 3002 itself. Otherwise each has a backend, which says its port and what it was asked for. */
  readonly ownBackends?: boolean
  readonly skip?: string | false
  readonly check: Check
}

const passesThrough: Check = async ({ get }) => assert.match(await get('/a'), /^200 300\d GET \/a$/)
/** A file of tests. `passed`: what the runner says of it. */
const passes =
  (passed = /pass [1-9]/): Check =>
  async ({ script }) => {
    const { code, stdout, stderr } = await script.exit()
    assert.equal(code, 0, stdout + stderr)
    assert.match(stdout + stderr, passed)
  }
const echoes = async (url: string): Promise<string> => {
  const socket = new WebSocket(url)
  await once(socket, 'open')
  socket.send('hello')
  const [answer] = await once(socket, 'message')
  socket.terminate()
  return String(answer)
}

const hasAwaitUsing = Number(process.versions.node.split('.')[0]) >= 24
const withoutThreads = await without()

/** What each program promises, by its document and heading; several under one heading in their order. */
const PROGRAMS: Readonly<Record<string, readonly Program[]>> = {
  'README.md: Start': [
    {
      ownBackends: true,
      async check({ get }) {
        const answers = new Set<string>()
        for (let i = 0; i < 20; i++) answers.add(await get('/a'))
        assert.deepEqual([...answers].sort(), ['200 3001 has got /a\n', '200 3002 has got /a\n'])
      },
    },
  ],
  'README.md: In an application': [
    { check: passesThrough },
    {
      async check({ get, url }) {
        assert.equal(await get('/api/users'), '200 3001 GET /users')
        assert.equal(await get('/'), '200 the application')
        assert.equal(await echoes(`${(await url()).replace('http', 'ws')}/api/chat`), '/chat: hello')
      },
    },
    { skip: withoutThreads, check: passesThrough },
    { check: passes() },
    {
      skip: !hasAwaitUsing && 'this Node.js has no `await using`',
      async check({ script }) {
        const { stdout, stderr } = await script.exit()
        assert.deepEqual([stdout, stderr], ['GET /\n', ''])
      },
    },
  ],
  'docs/getting-started.md: Getting started': [
    { ownBackends: true, check: async ({ get }) => assert.equal(await get('/a'), '200 3001 has got /a\n') },
  ],
  'docs/getting-started.md: A proxy': [
    {
      async check({ get, url }) {
        assert.match(await get('/a'), /^200 300[12] GET \/a$/)
        assert.equal(await echoes(`${(await url()).replace('http', 'ws')}/chat`), '/chat: hello')
      },
    },
  ],
  'docs/getting-started.md: Several applications on one port': [
    {
      async check({ get }) {
        assert.equal(await get('/api/users'), '200 3001 GET /users')
        assert.equal(await get('/users'), '200 3002 GET /users')
      },
    },
  ],
  'docs/getting-started.md: In a server of your own': [
    {
      async check({ get, url }) {
        assert.equal(await get('/hello'), '200 hello from the application\n')
        assert.equal(await get('/a'), '200 3001 GET /a')
        assert.equal(await echoes(`${(await url()).replace('http', 'ws')}/chat`), '/chat: hello')
      },
    },
  ],
  'docs/getting-started.md: TLS': [
    {
      async check({ url }) {
        const asked = https.get(await url(), { ca: certificate, agent: false })
        const [response] = await once(asked, 'response')
        assert.equal(Buffer.concat(await response.toArray()).toString(), '3001 GET /')
      },
    },
  ],
  'docs/getting-started.md: Health, logs and closing': [
    {
      async check({ get, script }) {
        assert.equal(await get('/healthz'), '200 ok\n')
        assert.match(await get('/a'), /^200 300[12] GET \/a$/)
        script.child.kill('SIGTERM')
        const { code, stdout } = await script.exit()
        assert.equal(code, 0)
        assert.match(stdout, /"GET \/a HTTP\/1.1" 200/)
      },
    },
  ],
  'docs/recipes.md: Express': [
    {
      async check({ get, url }) {
        assert.equal(await get('/api/users'), '200 3001 GET /users')
        assert.equal(await get('/'), '200 the application')
        assert.equal(await echoes(`${(await url()).replace('http', 'ws')}/api/chat`), '/chat: hello')
      },
    },
  ],
  'docs/recipes.md: Koa': [
    {
      async check({ get, url, script }) {
        assert.equal(await get('/api/users'), '200 3001 GET /users')
        assert.equal(await get('/'), '200 the application')
        assert.equal(await echoes(`${(await url()).replace('http', 'ws')}/api/chat`), '/chat: hello')
        script.child.kill('SIGTERM')
        assert.equal((await script.exit()).code, 0)
      },
    },
  ],
  'docs/bundlers.md: Tests': [{ check: passes(/^Tests: +[1-9]\d* passed/m) }],
  'docs/recipes.md: vitest': [{ check: passes(/Tests +[1-9]\d* passed/) }],
  'docs/recipes.md: jest': [{ check: passes(/^Tests: +[1-9]\d* passed/m) }],
  'docs/recipes.md: TLS': [
    {
      async check({ url, port }) {
        const [response] = await once(https.get(await url(), { ca: certificate, agent: false }), 'response')
        assert.equal(Buffer.concat(await response.toArray()).toString(), '3001 GET /')
        assert.equal(response.headers['strict-transport-security'], 'max-age=31536000')
        const redirected = await fetch(`http://127.0.0.1:${port('8080')}/a?b=1`, { redirect: 'manual' })
        assert.deepEqual(
          [redirected.status, redirected.headers.get('location')],
          [308, `https://localhost:${port('8443')}/a?b=1`],
        )
      },
    },
  ],
  'docs/tls.md: Certificates by name': [
    {
      async check({ url }) {
        const [response] = await once(https.get(await url(), { ca: certificate, agent: false }), 'response')
        assert.equal(Buffer.concat(await response.toArray()).toString(), '3001 GET /')
      },
    },
  ],
  'docs/tls.md: Certificates of clients': [
    {
      async check({ url }) {
        const own = { ca: certificate, agent: false }
        const [stranger] = await once(https.get(await url(), own), 'response')
        assert.equal(stranger.statusCode, 403)
        const [response] = await once(https.get(await url(), { ...own, cert: certificate, key }), 'response')
        assert.equal(Buffer.concat(await response.toArray()).toString(), '3001 GET /')
      },
    },
  ],
  'docs/protocols.md: An application behind: Express, and any `node:http` server': [
    {
      async check({ url }) {
        const client = http2.connect(await url(), { ca: certificate })
        const get = async (path: string): Promise<string> => {
          const chunks = await client.request({ ':path': path }).toArray()
          return Buffer.concat(chunks).toString()
        }
        assert.deepEqual([await get('/'), await get('/api/a')], ['the application', '3001 GET /api/a'])
        client.destroy()
      },
    },
  ],
  'docs/testing.md: Backends that respond': [{ check: passes() }],
  'docs/testing.md: Backends that fail': [{ check: passes() }],
  'docs/testing.md: Without sockets': [{ check: passes() }],
  'docs/testing.md: Time': [{ check: passes() }],
  'docs/testing.md: Logs': [{ check: passes() }],
  'docs/testing.md: Suites for your own policies': [{ check: passes() }],
}

/** heddle as it is here, or where test/package has installed the packed package. */
const INSTALLED = process.env.HEDDLE_INSTALLED ?? PACKAGE_ROOT

const found = new Map<string, Block[]>()
for (const block of documents().flatMap(blocksOf)) {
  if (!block.comment.startsWith('test')) continue
  const name = `${block.file}: ${block.section}`
  found.set(name, [...(found.get(name) ?? []), block])
}

test('each complete program in the documents is run', () => {
  const counts = (all: Iterable<[string, readonly unknown[]]>) =>
    Object.fromEntries(Array.from(all, ([k, v]) => [k, v.length]))
  assert.deepEqual(counts(found), counts(Object.entries(PROGRAMS)))
})

for (const [name, blocks] of found) {
  for (const [index, block] of blocks.entries()) {
    const program = PROGRAMS[name]?.[index]
    if (program === undefined) continue
    test(`${name}, program ${index + 1}`, { skip: program.skip ?? false }, (t) => runs(t, block, program))
  }
}

/** How a file of tests is run by another runner than node's. */
const RUNNERS: Readonly<Record<string, readonly string[]>> = {
  vitest: ['node_modules/vitest/vitest.mjs', 'run', '--no-color'],
  jest: ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js', '--no-color'],
  'jest in CommonJS': ['node_modules/jest/bin/jest.js', '--no-color'],
}

async function runs(t: TestContext, block: Block, { check, ownBackends = false }: Program): Promise<void> {
  const { text } = block
  const runner = block.comment.slice('test: '.length)
  const ports = new Map<string, number>()
  for (const [port] of text.matchAll(/\b(?:8080|8443|300\d)\b/g)) {
    if (!ports.has(port)) ports.set(port, await freePort())
  }
  for (const [name, port] of ports) {
    if (!ownBackends && name.startsWith('300')) await backendAt(t, name, port)
  }
  const folder = mkdtempSync(join(tmpdir(), 'heddle-program-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  install(folder, runner === '' ? text : `${text} from '${runner.split(' ', 1)}'`)
  const config = blocksOf(block.file).find(({ comment }) => comment === `config: ${runner}`)
  writeFileSync(join(folder, 'package.json'), config?.text ?? '{}')
  writeFileSync(join(folder, 'cert.pem'), certificate)
  writeFileSync(join(folder, 'key.pem'), key)
  writeFileSync(
    join(folder, runner === '' ? 'example.mjs' : runner.endsWith('CommonJS') ? 'example.test.js' : 'example.test.mjs'),
    text.replace(/\b(?:8080|8443|300\d)\b/g, (port) => String(ports.get(port))),
  )
  const script = startScript(t, RUNNERS[runner] ?? ['example.mjs'], folder)
  const plain = (answer: string) => [...ports].reduce((all, [name, port]) => all.replaceAll(String(port), name), answer)
  await check(
    {
      script,
      url: script.url,
      port: (name) => ports.get(name),
      async get(path) {
        const response = await fetch((await script.url()) + path, { headers: { connection: 'close' } })
        return plain(`${response.status} ${await response.text()}`)
      },
    },
    t,
  )
}

/** Says its port in the document and what it was asked for; echoes the messages of WebSockets. */
async function backendAt(t: TestContext, name: string, port: number): Promise<void> {
  const server = http.createServer((req, res) => res.end(`${name} ${req.method} ${req.url}`))
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, req) => socket.on('message', (text) => socket.send(`${req.url}: ${text}`)))
  await once(server.listen(port, '127.0.0.1'), 'listening')
  t.after(() => server.close().closeAllConnections())
}

/** Puts heddle, and the packages that `text` imports, into node_modules of the folder. */
function install(folder: string, text: string): void {
  const imported = Array.from(
    text.matchAll(/(?: from |\brequire\()'((?:@[^/']+\/)?[^./'][^/']*)/g),
    ([, name = '']) => name,
  )
  for (const name of new Set(imported.filter((one) => !one.startsWith('node:')))) {
    const to = join(folder, 'node_modules', name)
    mkdirSync(dirname(to), { recursive: true })
    symlinkSync(name === 'heddle' ? INSTALLED : join(PACKAGE_ROOT, 'node_modules', name), to, 'junction')
  }
}
