import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import tls from 'node:tls'
import { Agent, request } from 'undici'
import { createProxy, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { certificate, key, renewedCertificate, renewedKey } from '../support/certificates.ts'
import { queue } from '../support/running-proxy.ts'
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

  test(`${spread}: setSecureContext() reaches every thread, and later ones`, {
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
    await assert.rejects(proxy.setSecureContext({ cert: 'no certificate', key }))
    assert.deepEqual(await names(), ['heddle-test'])
    await proxy.setSecureContext({ cert: renewedCertificate, key: renewedKey })
    assert.deepEqual(await names(), ['heddle-renewed'])
    await proxy.reload()
    assert.deepEqual(await names(), ['heddle-renewed'])
  })

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
