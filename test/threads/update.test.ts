import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, OptionsError, type ProxyOptions, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { ChangeHistory } from '../../src/threads/change-history.ts'
import type { RawClient } from '../support/raw-client.ts'
import { ask, clientsOfThreads, LOOPBACK, without } from './threaded.ts'

const skip = await without()

test('an update has reached every thread when it is applied; threads that begin later know of it, and of what came after', {
  skip,
}, async () => {
  await using old = await mockBackend({ body: 'old' })
  await using one = await mockBackend({ body: 'one' })
  await using two = await mockBackend({ body: 'two' })
  await using proxy = createProxy({
    executor: workerThreads({ threads: 2 }),
    drainTimeoutMs: 100,
    target: old.url,
  })
  const { port } = await proxy.listen(LOOPBACK)
  let clients = await clientsOfThreads(proxy, port, 2)
  const answers = (): Promise<string[]> => Promise.all(Array.from(clients.values(), (client: RawClient) => ask(client)))
  assert.deepEqual(await answers(), ['old', 'old'])

  const change = async (options: ProxyOptions): Promise<void> => proxy.update(options).applied
  await change({ groups: { a: { target: one.url }, b: { target: two.url } }, routes: [{ group: 'a' }] })
  assert.deepEqual(await answers(), ['one', 'one'])
  await proxy.setBackends([old.url], 'b')
  await change({ groups: { a: { target: one.url }, b: { target: two.url } }, routes: [{ group: 'b' }] })
  assert.deepEqual(await answers(), ['two', 'two'])
  await proxy.setBackends([old.url], 'b')
  assert.deepEqual(await answers(), ['old', 'old'])

  // What cannot be, or cannot be sent, has changed nothing.
  const own = { name: 'own', pick: ([only]: readonly [never, ...never[]]) => only }
  assert.throws(() => proxy.update({ target: one.url, balancer: own }), OptionsError)
  assert.throws(() => proxy.update({ target: 'nowhere' }), OptionsError)
  assert.deepEqual(await answers(), ['old', 'old'])

  for (const client of clients.values()) client.socket.destroy()
  await proxy.reload()
  clients = await clientsOfThreads(proxy, port, 2)
  assert.deepEqual(await answers(), ['old', 'old'])
  await change({ target: one.url })
  for (const client of clients.values()) client.socket.destroy()
  // A change of the group b would be one of a group that no thread has.
  await proxy.reload()
  clients = await clientsOfThreads(proxy, port, 2)
  assert.deepEqual(await answers(), ['one', 'one'])
  for (const client of clients.values()) client.socket.destroy()
})

const TLS = { listener: 1, options: {}, certificates: [], challenges: null, clientAuth: null }

test('other options take the place of earlier changes of backends, until the change is undone', () => {
  const history = new ChangeHistory([{ group: 'a', backends: [] }, { tls: TLS }])
  const undo = history.add({ options: { target: 'x' }, version: 2 })
  history.add({ group: 'b', backends: [] })
  const subjects = (): string[] => Array.from(history, (change) => Object.keys(change)[0] as string)
  assert.deepEqual(subjects(), ['tls', 'options', 'group'])
  undo()
  assert.deepEqual(
    Array.from(history, (change) => ('group' in change ? change.group : '')),
    ['', 'b', 'a'],
  )
})
