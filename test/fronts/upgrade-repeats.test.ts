import assert from 'node:assert/strict'
import net, { type AddressInfo, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import { deadPort } from '../../src/testing/mock-backend.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS } from '../support/running-proxy.ts'
import { rawBackend, switching, upgradeRequest } from '../support/upgrade-backends.ts'

const always = { name: 'always', next: ({ attempts }: { attempts: number }) => (attempts < 5 ? 0 : -1) }

for (const { name, run } of FRONTS) {
  describe(`${name}: a handshake that may have reached a backend is not repeated`, () => {
    for (const [what, how, code] of [
      ['closed unanswered', ({ socket }) => socket.end(), 'ERR_PROXY_RESET'],
      ['reset unanswered', ({ socket }) => socket.resetAndDestroy(), 'ERR_PROXY_RESET'],
      ['half a head', ({ socket }) => socket.end('HTTP/1.1 101 Sw'), ''],
      ['no HTTP', ({ socket }) => socket.write('SSH-2.0-x\r\n\r\n'), 'ERR_PROXY_BAD_RESPONSE'],
      ['another protocol', ({ socket }) => socket.write(switching('bar')), 'ERR_PROXY_UPGRADE'],
      ['no answer in time', () => {}, 'ERR_PROXY_HEADERS_TIMEOUT'],
    ] as [string, Parameters<typeof rawBackend>[0], string][]) {
      test(what, async () => {
        await using first = await rawBackend(how)
        await using second = await rawBackend(how)
        await using running = await run({
          backends: [first.url, second.url],
          retry: always,
          timeouts: { headers: what === 'no answer in time' ? 50 : 60_000 },
        })
        const client = rawClient(running.port)
        client.write(upgradeRequest())
        await client.ended
        assert.match(client.text, /^HTTP\/1\.1 50[24] /)
        const record = await running.nextRecord()
        assert.equal(record.attempts, 1)
        if (code !== '') assert.equal(record.errorCode, code)
        assert.equal(first.heads.length + second.heads.length, 1)
      })
    }
  })

  describe(`${name}: a handshake of which nothing was written is repeated`, () => {
    test('a refused connection', async () => {
      const { url } = await deadPort()
      await using backend = await rawBackend((upgrade) => upgrade.accept())
      await using running = await run({ backends: [url, backend.url], balancer: 'first-available', retry: always })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      await client.until('101')
      client.socket.destroy()
      assert.equal((await running.nextRecord()).attempts, 2)
    })

    for (const [what, answers, code] of [
      ['a failed TLS handshake', true, 'ERR_PROXY_TLS'],
      ['a connection that does not come about in time', false, 'ERR_PROXY_CONNECT_TIMEOUT'],
    ] as const) {
      test(what, async () => {
        await using backend = await rawBackend((upgrade) => upgrade.accept())
        await using noTls = await noTlsBackend(answers)
        await using running = await run({
          backends: [noTls.url, backend.url],
          balancer: 'first-available',
          retry: always,
          timeouts: { connect: answers ? 60_000 : 300 },
        })
        const codes: string[] = []
        running.proxy.on('retry', (_exchange, error) => codes.push(error.code))
        const client = rawClient(running.port)
        client.write(upgradeRequest())
        await client.until('101')
        client.socket.destroy()
        assert.equal((await running.nextRecord()).attempts, 2)
        assert.deepEqual(codes, [code])
      })
    }
  })
}

/** Takes TCP connections under an https: URL, and speaks no TLS or nothing at all. */
async function noTlsBackend(answers: boolean): Promise<AsyncDisposable & { url: string }> {
  const sockets = new Set<Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('data', () => answers && socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `https://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
