import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Agent, request } from 'undici'
import { createProxy, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { certificate, key } from '../support/certificates.ts'
import { queue } from '../support/running-proxy.ts'
import { LOOPBACK, without } from './threaded.ts'

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
}
