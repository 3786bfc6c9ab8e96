import assert from 'node:assert/strict'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { reset } from '../../src/fronts/tcp.ts'

for (const [name, before, code] of [
  ['an open connection is reset', () => {}, 'ECONNRESET'],
  ['one that is just sending its FIN ends, and is let go', (socket: net.Socket) => socket.end(), undefined],
] as const) {
  test(`reset(): ${name}`, async () => {
    const server = net.createServer({ allowHalfOpen: true })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const accepted = once(server, 'connection')
    const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
    const seen = new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
      client.on('error', resolve).on('end', () => resolve(undefined))
    })
    client.resume()
    await once(client, 'connect')
    const [socket] = (await accepted) as [net.Socket]
    const errors: Error[] = []
    const closed = new Promise<void>((resolve) =>
      socket.on('error', (error) => errors.push(error)).on('close', () => resolve()),
    )
    before(socket)
    reset(socket)
    await closed
    assert.deepEqual(errors, [])
    assert.equal((await seen)?.code, code)
    // Only when no connection is left.
    await new Promise((resolve) => server.close(resolve))
  })
}
