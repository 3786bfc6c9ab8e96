import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FLAG, FRAME, SETTING } from '../../../src/http2/protocol.ts'
import { createProxy } from '../../../src/index.ts'
import { mockBackend } from '../../../src/testing/index.ts'
import { type Frame, frame, GET, headers, settings, uint32 } from '../../http2/wire.ts'
import { MIB } from '../../support/bytes.ts'
import { rawClient } from './raw-client.ts'

/** More than the kernel takes for a client that does not read. */
const LARGE = 24 * MIB
const LARGEST_WINDOW = 2 ** 31 - 1
const at = (path: string): typeof GET => [...GET.slice(0, 3), [':path', path]]

test('small responses do not wait for the end of three large ones on the same connection', async () => {
  await using backend = await mockBackend((request, reply) =>
    reply.send({ body: request.path === '/large' ? Buffer.alloc(LARGE, 'l') : 'small' }),
  )
  const proxy = createProxy({ target: backend.url, drainTimeoutMs: 100 })
  const { port } = await proxy.listen({ host: '127.0.0.1', port: 0, protocols: ['h2'] })
  await using client = rawClient(port, settings([SETTING.INITIAL_WINDOW_SIZE, LARGEST_WINDOW]))
  client.send(frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(LARGEST_WINDOW - 65_535)))
  const large = [1, 3, 5]
  client.send(...large.map((id) => headers(id, at('/large'))))
  for (const id of large) await client.until((one) => one.type === FRAME.DATA && one.id === id)
  const small = Array.from({ length: 20 }, (_, i) => 7 + 2 * i)
  client.send(...small.map((id) => headers(id, at('/small'))))
  const isEnd = ({ type, flags }: Frame): boolean => type === FRAME.DATA && (flags & FLAG.END_STREAM) !== 0
  const ended = (id: number) => client.until((one) => one.id === id && isEnd(one))
  for (const id of [...small, ...large]) await ended(id)
  const order = client.frames.filter(isEnd).map(({ id }) => id)
  assert.deepEqual(
    order.slice(0, small.length).sort((one, other) => one - other),
    small,
  )
  // The large ones take turns: none is far ahead of the others.
  const left = new Map(large.map((id) => [id, LARGE]))
  for (const { type, id, payload } of client.frames) {
    if (type !== FRAME.DATA || !large.includes(id)) continue
    left.set(id, (left.get(id) as number) - payload.length)
    if (left.get(id) === 0) break
  }
  for (const bytes of left.values()) assert.ok(bytes < LARGE / 4, `${bytes} bytes left`)
  await proxy.close()
})
