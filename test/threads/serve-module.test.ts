import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { WebSocket } from 'ws'
import { serveModule } from '../../src/index.ts'
import { deadPort, manualClock, mockBackend } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { startScript } from '../support/script.ts'
import { webSocketBackend } from '../support/upgrade-backends.ts'
import {
  ask,
  clientsOfEntries,
  entryOf,
  get,
  LOOPBACK,
  listeningSockets,
  startThreads,
  threadLog,
  watchWorkers,
  without,
  withoutHandOver,
} from './threaded.ts'

const skip = await without()
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a module serves with its own application and hooks in each thread', { skip }, async () => {
  await using backend = await mockBackend((request, reply) => reply.send({ body: request.header('x-signed') ?? '' }))
  await using page = await mockBackend({ body: 'a page' })
  const entry = entryOf('app', [
    ['backend', backend.url],
    ['pages', page.url],
  ])
  await using running = await serveModule(entry, { threads: 2, listen: LOOPBACK })
  const clients = await clientsOfEntries(running.address.port, 2)
  assert.deepEqual([...clients.keys()].sort(), [1, 2])
  for (const client of clients.values()) {
    assert.equal(await ask(client, '/api/users'), 'by a hook')
    assert.equal(await ask(client, '/about'), 'a page')
  }
  assert.equal(backend.requests[0]?.path, '/users')
  // Of both proxies of a thread, and without what Express answers itself.
  assert.deepEqual(
    running.threads().map(({ exchanges, connections }) => [exchanges, connections]),
    [
      [2, 1],
      [2, 1],
    ],
  )
  for (const client of clients.values()) client.socket.destroy()
})

test('the application of a module has the last word in its thread', { skip }, async () => {
  await using backend = await mockBackend({ headers: ['Set-Cookie', 'backend=1'], body: 'x' })
  const entry = entryOf('app', [
    ['backend', backend.url],
    ['pages', backend.url],
  ])
  await using running = await serveModule(entry, { threads: 1, listen: LOOPBACK })
  for (const path of ['/api/users', '/page']) {
    const response = await fetch(running.address.url + path, { headers: { 'x-thread': 'forged' } })
    assert.deepEqual(response.headers.getSetCookie(), ['own=1; Path=/', 'backend=1'])
  }
  assert.deepEqual(
    backend.requests.map((request) => [request.path, request.header('x-thread')]),
    [
      ['/users', '1'],
      ['/page', '1'],
    ],
  )
})

test('proxies of a module share state with their siblings only', {
  skip,
}, async () => {
  const dead = await deadPort()
  await using good = await mockBackend({ body: 'good' })
  const entry = entryOf('app', [
    ['backend', dead.url],
    ['backend', good.url],
    ['pages', dead.url],
  ])
  await using running = await serveModule(entry, { threads: 2, listen: LOOPBACK })
  const [one, two] = Array.from((await clientsOfEntries(running.address.port, 2)).values())
  assert.ok(one !== undefined && two !== undefined)
  // The first one is down; one thread finds that out for all of them.
  assert.match(await ask(one, '/api'), /ERR_PROXY_CONNECT/)
  assert.equal(await ask(two, '/api'), 'good')
  assert.equal(await ask(one, '/api'), 'good')
  // The same address in another proxy is another backend, which has no other to go to.
  assert.match(await ask(two, '/page'), /ERR_PROXY_CONNECT/)
  one.socket.destroy()
  two.socket.destroy()
})

test('a WebSocket works in a thread, and is asked to close when it retires', { skip }, async (t) => {
  await using backend = await webSocketBackend()
  const entry = entryOf('app', [
    ['backend', backend.url],
    ['pages', backend.url],
  ])
  // At once, however long it may take.
  const drainTimeoutMs = Number.POSITIVE_INFINITY
  const { running } = await startThreads(t, entry, { threads: 1, drainTimeoutMs })
  const socket = new WebSocket(running.address.url.replace('http', 'ws'))
  const echoed = new Promise((resolve) => socket.once('message', (data) => resolve(String(data))))
  socket.once('open', () => socket.send('hello'))
  assert.equal(await echoed, 'hello')
  const closed = new Promise((resolve) => socket.once('close', resolve))
  await running.reload()
  assert.equal(await closed, 1001)
})

test('reload runs the module again in new threads', { skip }, async () => {
  const log = threadLog()
  await using running = await serveModule(entryOf('limited', [['limit', '9']]), {
    threads: 2,
    listen: LOOPBACK,
    observer: { onThread: log.onThread },
  })
  await running.reload()
  assert.deepEqual(
    running.threads().map(({ thread, state }) => [thread, state]),
    [
      [3, 'serving'],
      [4, 'serving'],
    ],
  )
  const steps = log.changes.slice(2).map(({ thread, what, serving }) => `${thread} ${what}, ${serving} serve`)
  // One at a time, and never fewer than before.
  assert.deepEqual(steps, [
    '3 started, 3 serve',
    '1 retiring, 2 serve',
    '1 ended, 2 serve',
    '4 started, 3 serve',
    '2 retiring, 2 serve',
    '2 ended, 2 serve',
  ])
  assert.match(log.changes[2]?.reason ?? '', /^replaces thread 1$/)
  assert.match((await get(running.address.url)).text, /^[34]$/)
})

test('the servers of a module hand their listening sockets to successors', {
  skip: await withoutHandOver(),
}, async () => {
  const entry = entryOf('limited', [['limit', '99']])
  await using running = await serveModule(entry, { threads: 2, listen: LOOPBACK })
  const sockets = listeningSockets(running.address.port)
  assert.equal(sockets.length, 2)
  for (let i = 0; i < 2; i++) await running.reload()
  assert.deepEqual(listeningSockets(running.address.port), sockets)
  const clients = await clientsOfEntries(running.address.port, 2)
  assert.deepEqual([...clients.keys()].sort(), [5, 6])
  for (const client of clients.values()) client.socket.destroy()
})

test('a successor listens itself if its predecessor dies before the handover', { skip }, async () => {
  const log = threadLog()
  await using running = await serveModule(entryOf('mourning'), {
    threads: 1,
    listen: LOOPBACK,
    observer: { onThread: log.onThread },
  })
  const channel = new BroadcastChannel('mourning')
  const reloaded = running.reload()
  await log.next('died')
  channel.postMessage('it is gone')
  channel.close()
  await reloaded
  while ((await get(running.address.url).catch(() => null))?.text !== '2') await nextTurn()
  assert.deepEqual(
    running.threads().map(({ thread }) => thread),
    [2],
  )
})

test('least-loaded: a module gets whole bodies, and idle connections end', {
  skip: await without('least-loaded'),
}, async (t) => {
  const { running } = await startThreads(t, entryOf('echo'), {
    threads: 2,
    spread: 'least-loaded',
    drainTimeoutMs: Number.POSITIVE_INFINITY,
  })
  const body = 'x'.repeat(300_000)
  const response = await fetch(running.address.url, { method: 'POST', body, headers: { connection: 'close' } })
  assert.equal(await response.text(), body)
  const idle = rawClient(running.address.port)
  await ask(idle)
  await running.close()
  assert.equal(await idle.ended, 'end')
})

test('an export that is not a server is rejected, and so is a missing module', { skip }, async () => {
  const start = (name: string) => serveModule(entryOf(name), { threads: 1, listen: 0 })
  await assert.rejects(
    start('nothing'),
    /nothing\.js: the default export of a module for serveModule\(\) must be a node:http server/,
  )
  await assert.rejects(start('absent'), (error: NodeJS.ErrnoException) => {
    assert.equal(error.code, 'ERR_MODULE_NOT_FOUND')
    assert.match(error.message, /absent\.js/)
    return true
  })
})

test('a module that does not serve fails with a reason', { skip }, async (t) => {
  watchWorkers(t)
  const clock = manualClock()
  const start = (parameter: string) =>
    serveModule(entryOf('hanging', [[parameter, '']]), { threads: 1, clock, listen: 0 })
  await assert.rejects(
    start('dead'),
    /could not start: it ended with code 13: a top-level await of its module never settles$/,
  )
  await assert.rejects(start('throwing'), /could not start: not today$/)
  await assert.rejects(start('listening'), /is a server that already listens/)
  const begun = once(process, 'worker')
  const started = start('live')
  await begun
  clock.advance(60_000)
  await assert.rejects(started, /could not start: it was not ready to serve within 60000 ms \(startTimeoutMs\)$/)
})

test('the module can be a path from the current folder', { skip }, async () => {
  const entry = relative(process.cwd(), fileURLToPath(entryOf('deadly')))
  await using running = await serveModule(entry, { threads: 1, listen: LOOPBACK })
  assert.equal((await get(`${running.address.url}/who`)).text, '1')
})

test('the module may be CommonJS, as a compiler or a bundler writes it', { skip }, async (t) => {
  const server = "require('node:http').createServer((req, res) => res.end('compiled'))"
  const modules = {
    'written.cjs': `module.exports = ${server}`,
    'compiled.cjs': `Object.defineProperty(exports, '__esModule', { value: true }); exports.default = () => ${server}`,
  }
  for (const [name, text] of Object.entries(modules)) {
    await using running = await serveModule(temporary(t, name, text), { threads: 1, listen: LOOPBACK })
    assert.equal((await get(running.address.url)).text, 'compiled')
  }
})

test('threads run the file that imports the worker, by its URL or its path', { skip }, async (t) => {
  const worker = new URL('../../src/worker.js', import.meta.url).href
  const file = temporary(t, 'worker.mjs', `globalThis.marked = true\nawait import(${JSON.stringify(worker)})`)
  const server = 'http.createServer((req, res) => res.end(String(globalThis.marked)))'
  const entry = temporary(t, 'server.mjs', `import http from 'node:http'\nexport default ${server}`)
  for (const module of [pathToFileURL(file), relative(process.cwd(), file)]) {
    await using running = await serveModule(entry, { threads: 1, listen: LOOPBACK, module })
    assert.equal((await get(running.address.url)).text, 'true')
  }
})

test('a file that is not there, or does not import the worker, is named', { skip }, async (t) => {
  const idle = temporary(t, 'idle.mjs', 'export {}')
  const wrong: [module: string, message: RegExp][] = [
    [idle, /could not start: it ended with code 0: file:.*idle\.mjs does not import 'heddle\/worker'$/],
    [`${idle}.js`, /could not start: Cannot find module .*idle\.mjs\.js/],
  ]
  for (const [module, message] of wrong) {
    await assert.rejects(serveModule(entryOf('echo'), { threads: 1, listen: LOOPBACK, module }), { message })
  }
})

test('a thread that is asked to end while it starts is not reported as started', { skip }, async () => {
  const log = threadLog()
  const running = await serveModule(entryOf('limited', [['limit', '9']]), {
    threads: 1,
    listen: LOOPBACK,
    observer: { onThread: log.onThread },
  })
  const begun = once(process, 'worker')
  const reloaded = running.reload()
  await begun
  await Promise.all([running.close(), reloaded])
  assert.deepEqual(
    log.changes.filter(({ thread }) => thread === 2).map(({ what }) => what),
    ['retiring', 'ended'],
  )
})

test('serveModule() rejects invalid options by name', async () => {
  const wrong: [options: object | undefined, message: RegExp][] = [
    [undefined, /^serveModule: listen is missing; use serveModule\(url, \{ listen: 8080 \}\)$/],
    [{}, /^serveModule: listen is missing/],
    [
      { listen: 0, thread: 2 },
      /^serveModule: thread is unknown; did you mean threads\?; allowed: listen, logger, observer, threads/,
    ],
    [{ listen: 0, entry: 'server.js' }, /^serveModule: entry is unknown/],
    [
      { listen: 0, module: 7 },
      /^serveModule: module is 7; allowed: the URL or the path of a file that imports 'heddle/,
    ],
    [{ listen: 0, module: '' }, /^serveModule: module is ""; allowed: the URL or the path/],
    [{ listen: 0, threads: 0 }, /^serveModule: threads is 0; allowed: a whole number/],
    [{ listen: 'localhost:8080' }, /^listen: it is 'localhost:8080'; allowed: a port/],
    [{ listen: {} }, /^listen: port is missing; give a whole number from 0 \(any free port\) to 65535$/],
    [{ listen: { port: 0, tls: {} } }, /^listen: tls is unknown; allowed: port, host, backlog$/],
    [{ listen: { prot: 8080 } }, /^listen: prot is unknown; did you mean port\?; allowed: /],
  ]
  for (const [options, message] of wrong) {
    await assert.rejects(serveModule(entryOf('echo'), options as never), { name: 'TypeError', message })
  }
})

/** A file that is removed after the test. */
function temporary(t: TestContext, name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-threads-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

/** A script of its own that starts `entry`; its end is the point. */
function script(entry: URL, options = ''): string[] {
  const index = JSON.stringify(new URL('../../src/index.js', import.meta.url).href)
  return [
    '--input-type=module',
    '--eval',
    `import { serveModule } from ${index}
    const listen = { port: 0, host: '127.0.0.1' }
    const running = await serveModule(${JSON.stringify(entry.href)}, { listen, threads: 1, maxCrashes: 2${options} })
    console.log('listening on ' + running.address.url)
    process.once('SIGTERM', () => running.close())`,
  ]
}

test('an unobserved crash loop ends the process with an error', {
  skip,
}, async (t) => {
  const index = JSON.stringify(new URL('../../src/index.js', import.meta.url).href)
  const options = `
    import { createProxy, workerThreads } from ${index}
    process.on('worker', (worker) => worker.on('message', ({ type }) => {
      if (type === 'serving') worker.terminate()
    }))
    const executor = workerThreads({ threads: 1, maxCrashes: 2 })
    await createProxy({ target: 'http://127.0.0.1:1', executor }).listen({ port: 0, host: '127.0.0.1' })`
  for (const args of [script(entryOf('loop')), ['--input-type=module', '--eval', options]]) {
    const { code, stderr } = await startScript(t, args).exit()
    assert.equal(code, 1, stderr)
    assert.match(stderr, /Error: 2 threads died one after another and are not replaced any more; the last: /)
  }
})

test('after an observed crash loop the process ends normally', { skip }, async (t) => {
  const options = ", observer: { onFailed: ({ message }) => console.log('heard: ' + message) }"
  const { code, stdout, stderr } = await startScript(t, script(entryOf('loop'), options)).exit()
  assert.match(stdout, /^heard: 2 threads died one after another/m)
  assert.deepEqual([code, stderr], [0, ''])
})

test('access log lines of all threads reach standard output whole', {
  skip,
}, async (t) => {
  await using backend = await mockBackend()
  const child = startScript(t, script(entryOf('deadly', [['backend', backend.url]])))
  const url = await child.url()
  for (let i = 0; i < 5; i++) await get(`${url}/line-${i}`)
  child.child.kill('SIGTERM')
  const { code, stdout, stderr } = await child.exit()
  assert.equal(code, 0, stderr)
  const lines = stdout.trim().split('\n').slice(1)
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)).map(({ thread, target }) => [thread, target]),
    Array.from({ length: 5 }, (_, i) => [1, `/line-${i}`]),
  )
})
