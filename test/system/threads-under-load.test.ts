import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load, loadedBackend } from '../support/busy-clients.ts'
import { rawClient } from '../support/raw-client.ts'
import { entryOf, startThreads, until, watchWorkers, without } from '../threads/threaded.ts'

const skipThreads = await without()

for (const how of ['is terminated', 'runs out of memory'] as const) {
  test(`a thread that ${how} under load is told of and replaced, its clients end, and close() does too`, {
    skip: skipThreads,
  }, async (t) => {
    const backend = await loadedBackend(t)
    const spawned = watchWorkers(t)
    const errors: { message: string; fields: Record<string, unknown> }[] = []
    const none = (): void => {}
    const logger = {
      debug: none,
      info: none,
      warn: none,
      error: (fields: object, message: string) => void errors.push({ message, fields: { ...fields } }),
    }
    const { running, log } = await startThreads(t, entryOf('deadly', [['backend', backend.url]]), {
      threads: 2,
      drainTimeoutMs: 300,
      resourceLimits: { maxOldGenerationSizeMb: 48 },
      logger,
      observer: { onLines: none },
    })
    const { port } = running.address
    const loads = await Promise.all([load(port), load(port)])
    await until(t, () => loads.every(({ answered }) => answered.size > 50))
    if (how === 'is terminated') await spawned[0]?.terminate()
    else {
      const client = rawClient(port)
      client.write('GET /grow HTTP/1.1\r\nHost: a\r\n\r\n')
      await client.ended
    }
    const died = await log.next('died')
    while ((await log.next('started')).thread <= 2);
    // Its open exchanges are told of by their number: nobody is left to tell of each.
    const told = errors.find(({ message }) => message.startsWith(`thread ${died.thread} died`))
    assert.equal(told?.fields.active, died.stats.active)
    // Those who lost their connection go on with another one.
    const before = loads.map(({ answered }) => answered.size)
    await until(t, () => loads.every(({ answered }, i) => answered.size > (before[i] ?? 0) + 50))
    await running.close()
    for (const one of loads) one.stop()
    await Promise.all(loads.map(({ over }) => over))
    assert.equal(running.threads().length, 0)
    assert.equal(log.changes.filter(({ what }) => what === 'died').length, 1)
  })
}
