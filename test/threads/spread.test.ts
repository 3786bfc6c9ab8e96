import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import { createProxy, type ListenAddress, workerThreads } from '../../src/index.ts'
import { manualClock, mockBackend, recordingLogger } from '../../src/testing/index.ts'
import { chooseSpread } from '../../src/threads/spread.ts'
import { rawClient } from '../support/raw-client.ts'
import { listening } from '../support/running-proxy.ts'
import { ask, get, LOOPBACK, limited, without } from './threaded.ts'

const withoutThreads = await without()
const withoutTransfer = await without('least-loaded')
const withoutReuse = await without('kernel')

const executor = (threads = 1): ReturnType<typeof workerThreads> => workerThreads({ threads })

test('the kernel spreads if it can, unless another spread is chosen', {
  skip: withoutReuse || withoutTransfer,
}, async () => {
  assert.equal(await chooseSpread(undefined), 'kernel')
  assert.equal(await chooseSpread('kernel'), 'kernel')
  assert.equal(await chooseSpread('least-loaded'), 'least-loaded')
})

/** What a platform without SO_REUSEPORT chooses, or says, where nothing, `kernel` or `least-loaded` is asked for. */
function choicesWithoutReuse(before = ''): string[] {
  const source = `
    import net from 'node:net'
    import { MessagePort } from 'node:worker_threads'
    import { chooseSpread } from ${JSON.stringify(new URL('../../src/threads/spread.js', import.meta.url).href)}
    const { listen } = net.Server.prototype
    net.Server.prototype.listen = function (options, ...rest) {
      return listen.call(this, { ...options, reusePort: false }, ...rest)
    }
    ${before}
    for (const spread of [undefined, 'kernel', 'least-loaded'])
      console.log(await chooseSpread(spread).catch(({ code, message }) => code + ' ' + message))`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', source], { encoding: 'utf8' })
  return stdout.trim().split('\n')
}

test('if threads cannot share a port, connections are handed to them', { skip: withoutTransfer }, () => {
  const [chosen, kernel, leastLoaded] = choicesWithoutReuse()
  assert.deepEqual([chosen, leastLoaded], ['least-loaded', 'least-loaded'])
  assert.match(kernel ?? '', /^ERR_PROXY_THREADS several threads cannot listen on one port here/)
})

test('if the runtime can do neither, an error says what to do', () => {
  // As a node before 26 would do it.
  const lines = choicesWithoutReuse(`
    const { postMessage } = MessagePort.prototype
    MessagePort.prototype.postMessage = function (value, list) {
      if (list?.some((one) => one instanceof net.Socket)) throw new Error('cannot be transferred')
      return postMessage.call(this, value, list)
    }`)
  assert.match(
    lines[0] ?? '',
    /^ERR_PROXY_THREADS threads cannot share a port here \(.+, node .+\): use Linux with node/,
  )
  assert.match(lines[1] ?? '', /^ERR_PROXY_THREADS several threads cannot listen on one port here .+SO_REUSEPORT needs/)
  assert.match(lines[2] ?? '', /^ERR_PROXY_THREADS connections cannot be handed to threads here .+'least-loaded' needs/)
})

test('with port 0 all threads share one port', {
  skip: withoutReuse,
}, async () => {
  await using backend = await mockBackend()
  await using proxy = createProxy({
    logger: 'silent',
    target: backend.url,
    executor: workerThreads({ threads: 2, spread: 'kernel' }),
  })
  const { port, url } = await proxy.listen(LOOPBACK)
  assert.ok(port > 0)
  // The kernel draws by the client's port: a hundred draws leave one of two out with a chance of 10 to the -30.
  for (let i = 0; i < 100 && proxy.stats().threads.some(({ exchanges }) => exchanges === 0); i++) await get(url)
  assert.ok(proxy.stats().threads.every(({ exchanges }) => exchanges > 0))
})

test('least-loaded: open connections are spread evenly', { skip: withoutTransfer }, async () => {
  await using backend = await mockBackend()
  await using proxy = createProxy({
    logger: 'silent',
    target: backend.url,
    executor: workerThreads({ threads: 3, spread: 'least-loaded' }),
    drainTimeoutMs: 100,
  })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = Array.from({ length: 12 }, () => rawClient(port))
  const answers = await Promise.all(clients.map((client) => ask(client, '/held')))
  assert.deepEqual([...new Set(answers)], ['GET /held'])
  const connections = (): number[] => proxy.stats().threads.map((thread) => thread.connections)
  assert.deepEqual(connections(), [4, 4, 4])
  assert.deepEqual(
    proxy.stats().threads.map(({ exchanges }) => exchanges),
    [4, 4, 4],
  )
  // Those that end make room, wherever they were.
  for (const client of clients.slice(0, 5)) client.socket.destroy()
  while (connections().reduce((sum, one) => sum + one, 0) > 7) await new Promise((resolve) => setImmediate(resolve))
  const more = Array.from({ length: 5 }, () => rawClient(port))
  await Promise.all(more.map((client) => ask(client)))
  assert.deepEqual(connections(), [4, 4, 4])
  for (const client of [...clients, ...more]) client.socket.destroy()
})

test('least-loaded: bodies, keep-alive and a graceful end work', {
  skip: withoutTransfer,
}, async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  await using proxy = createProxy({
    logger: 'silent',
    target: backend.url,
    executor: workerThreads({ threads: 2, spread: 'least-loaded' }),
  })
  const { port, url } = await proxy.listen(LOOPBACK)
  const body = 'x'.repeat(300_000)
  assert.equal(await (await fetch(url, { method: 'POST', body })).text(), body)
  const idle = rawClient(port)
  await ask(idle)
  await proxy.close()
  // Idle ones are closed, not cut.
  assert.equal(await idle.ended, 'end')
  await assert.rejects(get(url))
})

test('least-loaded: without serving threads a connection is refused', {
  skip: withoutTransfer,
}, async (t) => {
  const clock = manualClock()
  const logger = recordingLogger()
  const { running, log, workers } = await limited(t, 9, { threads: 1, spread: 'least-loaded', clock, logger })
  await log.next('started')
  await workers[0]?.terminate()
  await log.next('died')
  await rawClient(running.address.port).ended
  assert.ok(logger.messages('error').includes('no thread is serving: a connection is refused'))
  clock.advance(0)
  await log.next('started')
  assert.equal((await get(running.address.url)).text, '2')
})

test('least-loaded: reloads run one by one, and truncate no request', {
  skip: withoutTransfer,
}, async (t) => {
  const { running } = await limited(t, 9, { threads: 2, spread: 'least-loaded' })
  let isOver = false
  const loops = Array.from({ length: 4 }, async () => {
    while (!isOver) assert.equal((await get(running.address.url)).status, 200)
  })
  await Promise.all([running.reload(), running.reload()])
  isOver = true
  await Promise.all(loops)
  assert.deepEqual(
    running.threads().map(({ thread, state }) => [thread, state]),
    [
      [5, 'serving'],
      [6, 'serving'],
    ],
  )
})

test('a port that another program listens on with SO_REUSEPORT is taken', { skip: withoutThreads }, async () => {
  await using backend = await mockBackend()
  await using first = createProxy({ logger: 'silent', target: backend.url, executor: executor() })
  await using second = createProxy({ logger: 'silent', target: backend.url, executor: executor() })
  const { port } = await first.listen(LOOPBACK)
  await assert.rejects(second.listen({ port, host: '127.0.0.1' }), (error: NodeJS.ErrnoException) => {
    assert.equal(error.code, 'EADDRINUSE')
    assert.match(error.message, /another process listens there: stop it or choose another port/)
    return true
  })
  // It can still listen elsewhere.
  const { url } = await second.listen(LOOPBACK)
  assert.equal((await get(url)).text, 'GET /')
})

test('a port of an ordinary server is taken', { skip: withoutThreads }, async () => {
  const server = http.createServer()
  const port = await listening(server)
  await using proxy = createProxy({ logger: 'silent', target: 'http://127.0.0.1:1', executor: executor() })
  await assert.rejects(proxy.listen({ port, host: '127.0.0.1' }), { code: 'EADDRINUSE' })
  server.close()
})

test('a foreign host address fails as without threads', { skip: withoutThreads }, async () => {
  await using proxy = createProxy({ logger: 'silent', target: 'http://127.0.0.1:1', executor: executor() })
  await assert.rejects(proxy.listen({ port: 0, host: '192.0.2.1' }), { code: 'EADDRNOTAVAIL' })
})

test('a proxy with threads listens on one address', { skip: withoutThreads }, async () => {
  await using proxy = createProxy({ logger: 'silent', target: 'http://127.0.0.1:1', executor: executor() })
  const [first, second] = await Promise.allSettled([proxy.listen(LOOPBACK), proxy.listen(LOOPBACK)])
  assert.equal(first.status, 'fulfilled')
  assert.equal(second.status === 'rejected' && second.reason.code, 'ERR_PROXY_THREADS')
  assert.match(String(second.status === 'rejected' && second.reason), /use workerThreads\(\{ listeners: 2 \}\)/)
  assert.equal(proxy.stats().threads.length, 1)
})

test('with listeners, each address has threads of its own, and state is shared', { skip: withoutThreads }, async () => {
  await using backend = await mockBackend()
  const threads = workerThreads({ threads: 2, listeners: 2 })
  await using proxy = createProxy({ target: backend.url, executor: threads, logger: 'silent' })
  // An address that cannot be had leaves room for another one.
  await assert.rejects(proxy.listen({ port: 0, host: '192.0.2.1' }), { code: 'EADDRNOTAVAIL' })
  const addresses = [await proxy.listen(LOOPBACK), await proxy.listen(LOOPBACK)]
  await assert.rejects(proxy.listen(LOOPBACK), /listen on 2 addresses; .* listeners: 3/)
  for (const { url } of addresses) assert.equal((await get(url)).status, 200)
  const ids = proxy.stats().threads.map(({ thread }) => thread)
  assert.equal(new Set(ids).size, 4)
  assert.equal(proxy.stats().exchanges, 2)
  // Out of the balance in the threads of both.
  const id = proxy.stats().groups[0]?.backends[0]?.id ?? ''
  proxy.disable(id)
  for (const { url } of addresses) assert.equal((await get(url)).status, 503)
  proxy.enable(id)
  await proxy.reload()
  for (const { url } of addresses) assert.equal((await get(url)).status, 200)
  for (const wrong of [0, 1.5, 65]) assert.throws(() => workerThreads({ listeners: wrong }), /listeners is .*; allowed/)
})

test('a unix socket cannot be shared', async () => {
  await using proxy = createProxy({ logger: 'silent', target: 'http://127.0.0.1:1', executor: executor() })
  await assert.rejects(proxy.listen({ path: '/tmp/none.sock' }), /threads cannot share a unix socket; listen on a port/)
})

test('a fallback server cannot be shared either', async () => {
  await using proxy = createProxy({ logger: 'silent', target: 'http://127.0.0.1:1', executor: executor() })
  const listens = proxy.listen({ ...LOOPBACK, fallback: http.createServer() })
  await assert.rejects(listens, /a fallback server belongs to this thread; with threads, each thread needs its own/)
})

test('without a host it listens on all addresses', { skip: withoutThreads }, async () => {
  await using backend = await mockBackend()
  await using proxy = createProxy({ logger: 'silent', target: backend.url, executor: executor() })
  const address: ListenAddress = await proxy.listen(0)
  assert.equal(address.url, `http://localhost:${address.port}`)
  assert.ok(net.isIP(address.host) > 0)
  assert.equal((await get(`http://127.0.0.1:${address.port}`)).text, 'GET /')
})
