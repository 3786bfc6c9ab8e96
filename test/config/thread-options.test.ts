import assert from 'node:assert/strict'
import { test } from 'node:test'
import { threadOptions } from '../../src/config/thread-options.ts'
import {
  addPrefix,
  createProxy,
  leastConnections,
  OptionsError,
  type ProxyOptions,
  standardPool,
  workerThreads,
} from '../../src/index.ts'
import { manualClock } from '../../src/testing/index.ts'

const target = 'http://127.0.0.1:3000'

class Region {
  readonly name = 'north'
}

test('options that cannot be sent to a thread fail at construction', () => {
  const cases: [options: ProxyOptions, path: string, what: string][] = [
    [{ target, balancer: leastConnections() }, 'balancer', 'is an object with functions'],
    [{ target, balancer: { name: 'mine', pick: ([first]) => first } }, 'balancer', 'is an object with functions'],
    [{ target, pool: standardPool() }, 'pool', 'is an object with functions'],
    [{ target, healthCheck: { name: 'mine', observe() {} } }, 'healthCheck', 'is an object with functions'],
    [{ target, retry: { name: 'mine', next: () => -1 } }, 'retry', 'is an object with functions'],
    [{ target, clock: manualClock() }, 'clock', 'is an object with functions'],
    [{ target, routes: [{ transforms: [addPrefix('/x')] }] }, 'routes[0].transforms[0]', 'is an object with functions'],
    [
      { groups: { api: { target, balancer: leastConnections() } }, routes: [{ group: 'api' }] },
      'groups.api.balancer',
      'is an object with functions',
    ],
    [
      { backends: [target, { url: 'http://b', metadata: { region: new Region() } }] },
      'backends[1].metadata.region',
      'is an instance of Region',
    ],
    [{ backends: [{ url: target, metadata: { tags: [() => 1] } }] }, 'backends[0].metadata.tags[0]', 'is a function'],
  ]
  for (const [options, path, what] of cases) {
    assert.throws(
      () => createProxy({ ...options, executor: workerThreads({ threads: 2 }) }),
      (error: unknown) => {
        assert.ok(error instanceof OptionsError, path)
        assert.equal(error.faults.length, 1)
        assert.ok(error.message.includes(`\n  ${path} ${what} and cannot be sent to a thread\n`), error.message)
        assert.match(error.message, /built-in policies by name \('least-connections'\)/)
        assert.match(error.message, /serveModule\(new URL\('\.\/server\.js', import\.meta\.url\), \{ listen: 8080 \}\)/)
        return true
      },
    )
  }
})

test('all such options are reported at once, after invalid ones', () => {
  const executor = workerThreads({ threads: 2 })
  const options = { target, balancer: leastConnections(), retry: { name: 'mine', next: () => -1 }, executor }
  assert.throws(
    () => createProxy(options),
    (error: unknown) => error instanceof OptionsError && error.faults.length === 2,
  )
  assert.throws(() => createProxy({ ...options, backends: [] }), /target cannot be used together with `backends`/)
})

test('logger, access log and executor stay in the main thread', () => {
  const options: ProxyOptions = {
    target,
    logger: console,
    accessLog: { format: 'json', write: () => {} },
    executor: workerThreads({ threads: 2 }),
  }
  assert.deepEqual(threadOptions(options), { target })
  assert.doesNotThrow(() => createProxy(options))
})

test('URLs and certificates are sent as text, the rest as copies', () => {
  const metadata = { zone: 'a', sizes: [1, 2] }
  const options: ProxyOptions = {
    backends: [new URL('http://a:1/x'), { url: new URL('https://b'), metadata, tls: { ca: Buffer.from('PEM') } }],
    balancer: { name: 'consistent-hash', by: { header: 'x-user' } },
    timeouts: { connect: 100 },
    healthCheck: false,
  }
  const plain = threadOptions(options)
  assert.deepEqual(plain, {
    backends: ['http://a:1/x', { url: 'https://b/', metadata, tls: { ca: 'PEM' } }],
    balancer: { name: 'consistent-hash', by: { header: 'x-user' } },
    timeouts: { connect: 100 },
    healthCheck: false,
  })
  assert.deepEqual(structuredClone(plain), plain)
})

test('without threads everything is allowed', async () => {
  const proxy = createProxy({ target, balancer: leastConnections(), clock: manualClock() })
  await proxy.close()
})
