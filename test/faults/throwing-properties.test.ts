import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Pool } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { ALL_FRONTS } from '../support/running-proxy.ts'

/** Of which every question throws. */
const hostile: unknown = new Proxy(
  {},
  {
    get() {
      throw new Error('no property of it can be read')
    },
  },
)
const throwingThen: unknown = {
  // biome-ignore lint/suspicious/noThenProperty: that is what is tested
  then() {
    throw new Error('no promise after all')
  },
}

for (const { name, run } of ALL_FRONTS) {
  for (const [what, given] of [
    ['of which every property throws', hostile],
    ['whose then() throws', throwingThen],
  ] as const) {
    test(`${name}: a pool that returns an object ${what} is answered 500, and ends nothing else`, async () => {
      await using backend = await mockBackend()
      const returned = (): never => given as never
      const pool: Pool = { acquire: returned, stats: returned, drain: returned, close: returned, destroy: returned }
      await using front = await run({ target: backend.url, pool, retry: false })
      const response = await fetch(front.url)
      assert.equal(response.status, 500)
      assert.equal(await response.text(), '500 Internal Server Error (ERR_PROXY_HOOK)\n')
      assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
    })
  }
}
