import assert from 'node:assert/strict'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { listen } from '../../src/fronts/listen.ts'
import { createProxy } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'

const TARGET = { target: 'http://127.0.0.1:1', drainTimeoutMs: 50 }

function directory(t: TestContext): string {
  const path = fs.mkdtempSync(join(tmpdir(), 'heddle-socket-'))
  t.after(() => fs.rmSync(path, { recursive: true, force: true }))
  return path
}

/** A socket such as a killed process leaves behind. */
async function staleSocket(t: TestContext): Promise<string> {
  const path = join(directory(t), 'stale')
  const server = net.createServer().listen(`${path}.first`)
  await once(server, 'listening')
  fs.linkSync(`${path}.first`, path)
  // Removes the name that it knows.
  server.close()
  await once(server, 'close')
  return path
}

test('a unix socket on which nobody listens any more is replaced', async (t) => {
  const path = await staleSocket(t)
  await using backend = await mockBackend({ body: 'hello' })
  await using proxy = createProxy({ ...TARGET, target: backend.url })
  assert.equal((await proxy.listen({ path })).host, path)
  const client = rawClient(path)
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await client.until('hello')
  await client.ended
})

test('a unix socket on which somebody listens is left alone', async (t) => {
  const path = join(directory(t), 'taken')
  await using first = createProxy(TARGET)
  await first.listen({ path })
  const before = fs.lstatSync(path).ino
  await using second = createProxy(TARGET)
  await assert.rejects(second.listen({ path }), {
    code: 'EADDRINUSE',
    message: /another process listens there: stop it or choose another path$/,
  })
  assert.equal(fs.lstatSync(path).ino, before)
})

test('of several that find the same stale socket one gets it, and stays reachable', async (t) => {
  const path = await staleSocket(t)
  await using backend = await mockBackend(Array(3).fill({ body: 'hello' }))
  const proxies = Array.from({ length: 5 }, () => createProxy({ ...TARGET, target: backend.url }))
  const results = await Promise.allSettled(proxies.map((proxy) => proxy.listen({ path })))
  const refused = results.filter((result) => result.status === 'rejected')
  assert.equal(refused.length, 4)
  for (const { reason } of refused) assert.match(reason.message, /another process listens there/)
  const client = rawClient(path)
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await client.until('hello')
  await Promise.all(proxies.map((proxy) => proxy.close()))
})

for (const what of ['a file', 'a directory', 'a link to a file'] as const) {
  test(`${what} in place of a unix socket is not removed`, async (t) => {
    const path = join(directory(t), 'precious')
    if (what === 'a directory') fs.mkdirSync(path)
    else if (what === 'a file') fs.writeFileSync(path, 'precious')
    else {
      fs.writeFileSync(`${path}.file`, 'precious')
      fs.symlinkSync(`${path}.file`, path)
    }
    await using proxy = createProxy(TARGET)
    await assert.rejects(proxy.listen({ path }), {
      code: 'EADDRINUSE',
      message: /not a socket: remove it or choose another path$/,
    })
    if (what === 'a directory') assert.ok(fs.statSync(path).isDirectory())
    else assert.equal(fs.readFileSync(path, 'utf8'), 'precious')
  })
}

for (const [options, hint] of [
  [{ port: 80 }, /cannot listen on \*:80: .*EACCES.*; ports below 1024 need a privilege/],
  [{ path: '/somewhere/socket' }, /cannot listen on \/somewhere\/socket: .*; this user may not create a socket/],
] as const) {
  test(`where the system forbids ${JSON.stringify(options)} the message says what to do`, async () => {
    const server = net.createServer()
    server.listen = () => {
      process.nextTick(() => server.emit('error', Object.assign(new Error('listen EACCES'), { code: 'EACCES' })))
      return server
    }
    await assert.rejects(listen(server, options), { code: 'EACCES', message: hint })
    assert.equal(server.listenerCount('error') + server.listenerCount('listening'), 0)
  })
}
