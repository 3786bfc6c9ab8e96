import assert from 'node:assert/strict'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import { httpProbe } from '../../src/health-checks/index.ts'
import { Backend } from '../../src/model/backend.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { queue } from '../support/running-proxy.ts'

const INTERVAL_MS = 5000

/** @returns what four probes found, of which none gets a connection, for this reason. */
async function probesThatFail(t: TestContext, code: string): Promise<string[]> {
  t.mock.method(net.Socket.prototype, 'connect', function connect(this: net.Socket) {
    process.nextTick(() => this.destroy(Object.assign(new Error(`connect ${code}`), { code, syscall: 'connect' })))
    return this
  })
  const clock = manualClock()
  const ends = queue<void>()
  const told: string[] = []
  const check = httpProbe(
    { intervalMs: INTERVAL_MS },
    {
      ...clock,
      schedule(ms, task) {
        // The next probe is scheduled: the one before has ended.
        if (ms >= INTERVAL_MS) ends.push()
        return clock.schedule(ms, task)
      },
    },
  )
  const stop = check.watch?.(new Backend('http://127.0.0.1:1'), {
    eject: () => false,
    setUnhealthy: (_backend, isUnhealthy, reason) => void told.push(`${isUnhealthy}: ${reason}`),
  })
  for (let probe = 0; probe < 4; probe++) {
    await ends.next()
    clock.advance(INTERVAL_MS * 1.1)
  }
  stop?.()
  return told
}

for (const code of ['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM']) {
  test(`a probe that could not be sent (${code}) has no result`, async (t) => {
    assert.deepEqual(await probesThatFail(t, code), [])
  })
}

test('a probe with a refused connection has a result', async (t) => {
  const told = await probesThatFail(t, 'ECONNREFUSED')
  assert.match(told[0] ?? '', /^true: .*ECONNREFUSED/)
})
