import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Pool } from 'undici'
import { createProxy } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { childBackend } from '../support/child-backend.ts'
import { rounds } from '../support/running-proxy.ts'
import { withoutWrk, wrk } from '../support/wrk.ts'

test('wrk with 64 connections sees no error', { skip: withoutWrk }, async () => {
  await using backend = await mockBackend()
  await using proxy = createProxy({ target: backend.url })
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  const { requests, failures, text } = await wrk(url, { seconds: 2 })
  assert.ok(requests > 100, text)
  assert.equal(failures, 0, text)
  // wrk goes in the midst of its last requests: what has been read of them gets its answer.
  while (proxy.stats().active > 0) await rounds(1)
})

/** Keeps `connections` requests under way until `isOver()`. */
async function load(
  url: string,
  connections: number,
  isOver: () => boolean,
): Promise<{ answered: number; faults: string[] }> {
  const pool = new Pool(url, { connections })
  const result = { answered: 0, faults: [] as string[] }
  async function client(): Promise<void> {
    while (!isOver()) {
      try {
        const { statusCode, body } = await pool.request({ path: '/', method: 'GET' })
        await body.text()
        if (statusCode === 200) result.answered++
        else result.faults.push(String(statusCode))
      } catch (error) {
        result.faults.push(String(error))
      }
    }
  }
  await Promise.all(Array.from({ length: connections }, client))
  await pool.destroy()
  return result
}

test('killing one of three backends under load fails no GET but those cut in mid-body; it is ejected and comes back', async () => {
  await using first = await childBackend()
  await using second = await childBackend()
  await using victim = await childBackend()
  await using proxy = createProxy({
    backends: [first.url, second.url, { url: victim.url, id: 'victim' }],
    healthCheck: { baseMs: 500 },
  })
  let cut = 0
  proxy.on('finish', (_exchange, record) => {
    if (record.outcome === 'truncated') cut++
  })
  const events: string[] = []
  proxy.on('eject', (backend) => events.push(`eject ${backend.id}`))
  proxy.on('uneject', (backend) => events.push(`uneject ${backend.id}`))
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  let isOver = false
  const running = load(url, 64, () => isOver)
  const seen = (event: keyof import('../../src/index.ts').ProxyEvents): Promise<unknown> =>
    new Promise((resolve) => proxy.once(event, () => resolve(undefined)))

  await seen('finish')
  const ejected = seen('eject')
  await victim.kill()
  await ejected
  await using revived = await childBackend(victim.port)
  await seen('uneject')
  // It takes requests again.
  await new Promise<void>((resolve) => {
    proxy.on('finish', (_exchange, record) => {
      if (record.backend === 'victim' && record.status === 200) resolve()
    })
  })
  isOver = true
  const { answered, faults } = await running
  assert.equal(revived.port, victim.port)
  assert.ok(answered > 100)
  assert.ok(faults.length <= cut, `${faults.length} failed, ${cut} were cut: ${faults.slice(0, 5).join('; ')}`)
  assert.deepEqual(events.slice(0, 2), ['eject victim', 'uneject victim'])
})

test('an EventSource gets each event as it is sent', async () => {
  const { EventSource } = await import('eventsource')
  let send: (data: string) => void = () => {}
  await using backend = await mockBackend((_request, reply) => {
    reply.head({ headers: { 'Content-Type': 'text/event-stream' } })
    send = (data) => void reply.chunk(`data: ${data}\n\n`)
    send('first')
  })
  await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 50 })
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  const source = new EventSource(url)
  const next = async (): Promise<string> => ((await once(source, 'message')) as [MessageEvent])[0].data
  // The second is sent only when the first has come.
  const [first] = await Promise.all([next()])
  assert.equal(first, 'first')
  const second = next()
  send('second')
  assert.equal(await second, 'second')
  source.close()
})
