import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, OptionsError, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import type { RawClient } from '../support/raw-client.ts'
import { ask, clientsOfEntries, clientsOfThreads, entryOf, LOOPBACK, startThreads, until, without } from './threaded.ts'

const skip = await without()

test('proxies share their state by name, in any order of creation', { skip }, async (t) => {
  await using one = await mockBackend({ body: 'one' })
  await using two = await mockBackend({ body: 'two' })
  const entry = entryOf('named-proxies', [
    ['backend', one.url],
    ['backend', two.url],
  ])
  const { running } = await startThreads(t, entry, { threads: 2, drainTimeoutMs: 100 })
  const byThread = await clientsOfEntries(running.address.port, 2)
  const clients = [byThread.get(1), byThread.get(2)] as [RawClient, RawClient]
  const answers = async (): Promise<string[]> => {
    const all: string[] = []
    for (const client of clients) for (const path of ['/left', '/right']) all.push(await ask(client, path))
    return all
  }
  assert.deepEqual(await answers(), ['one', 'one', 'one', 'one'])
  assert.equal(await ask(clients[0], '/drain'), 'drained')
  assert.deepEqual(await answers(), ['two', 'one', 'two', 'one'])

  await running.setBackends([{ url: two.url, id: 'b0' }], 'default', 'right')
  assert.deepEqual(await answers(), ['two', 'two', 'two', 'two'])
  await assert.rejects(running.setBackends([], 'default', 'middle'), /none of the 2 proxies of this thread has a group/)
  await assert.rejects(running.setBackends([], 'default', 0), /none of the 2 proxies of this thread has a group/)

  assert.deepEqual(
    running.threads().map(({ thread, exchanges }) => [thread, exchanges]),
    [
      [1, 6],
      [2, 6],
    ],
  )
  // Threads report every half second.
  const reported = (): string[][] => running.threads().map(({ pools }) => pools.map(({ proxy }) => proxy).sort())
  await until(t, () => reported().flat().length === 4)
  assert.deepEqual(reported(), [
    ['left', 'right'],
    ['left', 'right'],
  ])
  for (const client of clients) client.socket.destroy()
})

test('two proxies of one name in one thread are rejected', { skip }, async (t) => {
  const entry = entryOf('named-proxies', [['same', '']])
  await assert.rejects(
    startThreads(t, entry, { threads: 1 }),
    /thread 1 could not start: .*name is the name of another proxy of this thread/s,
  )
})

test('a proxy has its name in each thread, and in stats()', { skip }, async () => {
  await using one = await mockBackend({ body: 'one' })
  await using two = await mockBackend({ body: 'two' })
  await using proxy = createProxy({
    name: 'front',
    backends: [{ url: one.url, id: 'one' }, two.url],
    balancer: 'first-available',
    executor: workerThreads({ threads: 2 }),
  })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  await proxy.drain('one')
  for (const client of clients.values()) assert.equal(await ask(client), 'two')
  const { name, threads, exchanges } = proxy.stats()
  assert.equal(name, 'front')
  assert.equal(
    threads.reduce((sum, thread) => sum + thread.exchanges, 0),
    exchanges,
  )
  assert.ok(exchanges >= 4)
  for (const client of clients.values()) client.socket.destroy()
})

test('without threads a name is in stats(), and need not be unique', async () => {
  const options = { name: 'front', target: 'http://127.0.0.1:1' }
  await using proxy = createProxy(options)
  await using other = createProxy(options)
  await using nameless = createProxy({ target: 'http://127.0.0.1:1' })
  assert.deepEqual(
    [proxy, other, nameless].map((one) => one.stats().name),
    ['front', 'front', ''],
  )
})

test('a name is a word', () => {
  for (const name of ['', '#0', 'two words', 7]) {
    assert.throws(
      () => createProxy({ name: name as string, target: 'http://127.0.0.1:1' }),
      (error: unknown) =>
        error instanceof OptionsError && /name .*a word of letters, digits and _ \. -/s.test(error.message),
    )
  }
})
