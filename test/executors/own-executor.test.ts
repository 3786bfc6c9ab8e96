import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, type Executor, inline, type Running, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { ask, clientsOfThreads, get, LOOPBACK, threadLog, without } from '../threads/threaded.ts'

const skip = await without()

test('a minimal executor serves in the calling thread', async () => {
  await using backend = await mockBackend({ body: 'served' })
  const own: Executor = {
    name: 'own',
    maxThreads: 0,
    start: (job) => job.serve(job.listen),
  }
  const proxy = createProxy({ target: backend.url, executor: own })
  const { url } = await proxy.listen(LOOPBACK)
  assert.deepEqual(await get(url), { status: 200, text: 'served' })
  assert.deepEqual([proxy.stats().exchanges, proxy.stats().threads], [1, []])
  await proxy.setBackends([backend.url])
  await proxy.reload()
  await proxy.close()
  await assert.rejects(get(url))
})

test('an executor may change where to listen', async () => {
  await using backend = await mockBackend({ body: 'served' })
  const steps: string[] = []
  const own: Executor = {
    name: 'own',
    maxThreads: 0,
    async start(job): Promise<Running> {
      steps.push(`start at ${job.listen.port}`)
      const inner = await job.serve({ ...job.listen, ...LOOPBACK })
      return {
        address: inner.address,
        async close() {
          steps.push('close')
          await inner.close()
        },
      }
    },
  }
  const proxy = createProxy({ target: backend.url, executor: own })
  const { url, host } = await proxy.listen(1)
  assert.equal(host, '127.0.0.1')
  assert.equal((await get(url)).text, 'served')
  proxy.on('finish', () => {})
  await proxy.close()
  assert.deepEqual(steps, ['start at 1', 'close'])
})

test('listen() rejects with the error of start()', async () => {
  const own: Executor = { name: 'own', maxThreads: 0, start: () => Promise.reject(new Error('not today')) }
  await using proxy = createProxy({ target: 'http://127.0.0.1:1', executor: own })
  await assert.rejects(proxy.listen(LOOPBACK), /^Error: not today$/)
})

test('an executor without maxThreads has no threads', async () => {
  await using backend = await mockBackend({ body: 'served' })
  const own = { name: 'own', start: inline().start } as unknown as Executor
  await using proxy = createProxy({ target: backend.url, executor: own })
  const { url } = await proxy.listen(LOOPBACK)
  assert.equal((await get(url)).text, 'served')
})

test('an executor around workerThreads() keeps events, stats and changes', { skip }, async () => {
  await using backend = await mockBackend({ body: 'old' })
  await using other = await mockBackend({ body: 'new' })
  const inner = workerThreads({ threads: 2 })
  const started: string[] = []
  const logged: Executor = {
    ...inner,
    async start(job) {
      const running = await inner.start(job)
      started.push(`${inner.name} at ${running.address.port}`)
      return running
    },
  }
  await using proxy = createProxy({ target: backend.url, executor: logged })
  const log = threadLog()
  proxy.on('thread', log.onThread)
  const { port } = await proxy.listen(LOOPBACK)
  assert.deepEqual(started, [`worker-threads at ${port}`])
  assert.deepEqual(
    proxy.stats().threads.map(({ state }) => state),
    ['serving', 'serving'],
  )
  const clients = await clientsOfThreads(proxy, port, 2)
  await proxy.setBackends([other.url])
  for (const client of clients.values()) {
    assert.equal(await ask(client), 'new')
    client.socket.destroy()
  }
  assert.equal((await log.next('started')).what, 'started')
})
