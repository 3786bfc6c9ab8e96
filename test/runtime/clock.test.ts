import assert from 'node:assert/strict'
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { test } from 'node:test'
import { systemClock } from '../../src/runtime/clock.ts'

/** Does nothing else for so long. */
function block(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

test('a late task runs after the sockets have been read', async () => {
  const server = net.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [peer] = (await once(server, 'connection')) as [Socket]
  const order: string[] = []
  const done = new Promise<void>((resolve) => {
    peer.on('data', () => order.push('read'))
    systemClock.schedule(5, () => {
      order.push('task')
      resolve()
    })
  })
  client.write('in time')
  block(50)
  await done
  client.destroy()
  peer.destroy()
  server.close()
  assert.deepEqual(order, ['read', 'task'])
})

test('a task that is cancelled while the sockets are read does not run', async () => {
  const ran: string[] = []
  const cancels: (() => void)[] = []
  const other = systemClock.schedule(1, () => ran.push('cancelled'))
  cancels.push(other)
  await new Promise<void>((resolve) => {
    // The timer of the task has run, and the task waits for the sockets.
    setTimeout(() => {
      for (const cancel of cancels) cancel()
      setImmediate(() => setImmediate(resolve))
    }, 1)
    block(20)
  })
  assert.deepEqual(ran, [])
})
