import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import tls from 'node:tls'
import { Agent, request } from 'undici'
import { createProxy, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { certificate, key, renewedCertificate, renewedKey } from '../support/certificates.ts'
import { oneTest, oneTestRenewed } from '../support/named-certificates.ts'
import { queue } from '../support/running-proxy.ts'
import { visit } from '../support/tls-clients.ts'
import { entryOf, LOOPBACK, startThreads, without } from './threaded.ts'

for (const spread of ['kernel', 'least-loaded'] as const) {
  test(`${spread}: TLS in each thread`, { skip: await without(spread) }, async () => {
    await using backend = await mockBackend({ body: 'secret' })
    await using proxy = createProxy({ target: backend.url, executor: workerThreads({ threads: 2, spread }) })
    const records = queue<number>()
    proxy.on('finish', (_exchange, { thread }) => records.push(thread))
    const { port, url } = await proxy.listen({ ...LOOPBACK, tls: { cert: certificate, key } })
    assert.match(url, /^https:/)
    const threads = new Set<number>()
    while (threads.size < 2) {
      const { body } = await request(`https://127.0.0.1:${port}`, {
        dispatcher: new Agent({ connect: { ca: certificate } }),
      })
      assert.equal(await body.text(), 'secret')
      threads.add(await records.next())
    }
  })

  test(`${spread}: replaceCertificate() reaches every thread, and later ones`, {
    skip: await without(spread),
  }, async () => {
    await using backend = await mockBackend({ body: 'secret' })
    await using proxy = createProxy({ target: backend.url, executor: workerThreads({ threads: 2, spread }) })
    const { port } = await proxy.listen({ ...LOOPBACK, tls: { cert: certificate, key } })
    const names = async (): Promise<string[]> => {
      const all = Array.from({ length: 8 }, () => nameAt(port))
      return [...new Set(await Promise.all(all))]
    }
    assert.deepEqual(await names(), ['heddle-test'])
    await assert.rejects(proxy.replaceCertificate({ cert: 'no certificate', key }))
    assert.deepEqual(await names(), ['heddle-test'])
    await proxy.replaceCertificate({ cert: renewedCertificate, key: renewedKey })
    assert.deepEqual(await names(), ['heddle-renewed'])
    await proxy.reload()
    assert.deepEqual(await names(), ['heddle-renewed'])
  })

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`${spread}, ${version}: a session of one thread is resumed in every other one`, {
      skip: await without(spread),
    }, async () => {
      await using backend = await mockBackend({ body: 'secret' })
      await using proxy = createProxy({ target: backend.url, executor: workerThreads({ threads: 2, spread }) })
      const records = queue<number>()
      proxy.on('finish', (_exchange, { thread }) => records.push(thread))
      const certificates = [{ cert: certificate, key }, oneTest]
      const { port } = await proxy.listen({ ...LOOPBACK, tls: { certificates } })
      const only = { minVersion: version, maxVersion: version, servername: 'one.test' }
      const { session } = await visit(port, only)
      const threads = new Set([await records.next()])
      let visits = 0
      while (visits < 40 || threads.size < 2) {
        // At the same time, so that the least loaded thread is not always the same one.
        const all = await Promise.all(Array.from({ length: 8 }, () => visit(port, { ...only, session })))
        for (const { isResumed } of all) {
          assert.equal(isResumed, true)
          threads.add(await records.next())
          visits++
        }
      }
      await proxy.replaceCertificate(oneTestRenewed)
      assert.equal((await visit(port, { ...only, session })).isResumed, true)
      assert.equal((await visit(port, only)).name, 'one-new')
      await proxy.reload()
      const later = await visit(port, { ...only, session })
      assert.equal(later.isResumed, true)
      assert.match(later.text, /secret$/)
      assert.equal((await visit(port, only)).name, 'one-new')
    })
  }

  test(`${spread}: the server of a module may be one of node:https`, {
    skip: await without(spread),
  }, async (t) => {
    const { running } = await startThreads(t, entryOf('secure'), { threads: 1, spread })
    const dispatcher = new Agent({ connect: { ca: certificate } })
    const { body } = await request(`https://127.0.0.1:${running.address.port}`, { dispatcher })
    assert.equal(await body.text(), 'secret')
    await dispatcher.close()
  })
}

/** Of the certificate that a new connection gets. */
async function nameAt(port: number): Promise<string> {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const { CN } = socket.getPeerCertificate().subject
  socket.destroy()
  return String(CN)
}
