import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { mockBackend, recordingLogger } from '../../src/testing/index.ts'
import { ALL_FRONTS } from '../support/running-proxy.ts'

for (const { name, run } of ALL_FRONTS) {
  describe(name, () => {
    for (const challenges of [
      ['NTLM'],
      ['Negotiate'],
      ['negotiate', 'ntlm', 'Basic realm="a"'],
      ['Basic realm="a", Negotiate'],
      ['Negotiate TlRMTVNTUAACAAAA'],
    ]) {
      test(`a 401 with WWW-Authenticate: ${challenges.join('; ')} becomes a 502 that says why`, async () => {
        const headers = challenges.flatMap((one) => ['WWW-Authenticate', one])
        await using backend = await mockBackend({ status: 401, headers, body: 'no' })
        const logger = recordingLogger()
        await using front = await run({
          backends: [{ id: 'iis', url: backend.url }],
          logger,
          healthCheck: { consecutiveFailures: 1 },
        })
        const response = await fetch(front.url)
        assert.equal(response.status, 502)
        assert.equal(response.headers.get('www-authenticate'), null)
        assert.match(await response.text(), /ERR_PROXY_BAD_RESPONSE/)
        const told = logger.entries.filter(({ level }) => level === 'warn').map(({ message }) => message)
        assert.equal(told.length, 1)
        assert.match(told[0] ?? '', /backend iis of group default asks for NTLM or Negotiate/)
        // One attempt, and nothing is held against the backend.
        assert.equal((await front.nextRecord()).attempts, 1)
        assert.equal(front.proxy.stats().groups[0]?.backends[0]?.status, 'available')
        await backend.untilOpenConnections(0)
      })
    }

    for (const scheme of ['NTLM', 'Negotiate', 'negotiate']) {
      test(`a connection used with Authorization: ${scheme} is not reused`, async () => {
        // As IIS has it: the connection is the user's from then on.
        const users = new Map<number, string>()
        await using backend = await mockBackend((request, reply) => {
          const authorization = request.header('authorization')
          if (authorization !== undefined) users.set(request.connection, authorization)
          reply.send({ body: users.get(request.connection) ?? 'nobody' })
        })
        await using front = await run({ target: backend.url })
        const ask = async (headers: Record<string, string> = {}): Promise<string> => {
          const text = await (await fetch(front.url, { headers })).text()
          await front.nextRecord()
          return text
        }
        assert.equal(await ask(), 'nobody')
        assert.equal(await ask({ authorization: `${scheme} YII=` }), `${scheme} YII=`)
        assert.equal(await ask(), 'nobody')
        assert.equal(backend.connections, 2)
      })
    }

    test('a connection with a Negotiate response is not reused', async () => {
      await using backend = await mockBackend({ headers: ['WWW-Authenticate', 'Negotiate oYG2'], body: 'a' })
      await using front = await run({ target: backend.url })
      for (let i = 0; i < 2; i++) {
        assert.equal((await fetch(front.url)).headers.get('www-authenticate'), 'Negotiate oYG2')
        await front.nextRecord()
      }
      assert.equal(backend.connections, 2)
    })

    test('other schemes pass, and their connections are reused', async () => {
      const headers = ['WWW-Authenticate', 'Basic realm="NTLM or negotiate"', 'WWW-Authenticate', 'NegotiateX']
      await using backend = await mockBackend({ status: 401, headers, body: 'no' })
      await using front = await run({ target: backend.url })
      for (let i = 0; i < 2; i++) {
        const response = await fetch(front.url, { headers: { authorization: 'Basic bnRsbTpudGxt' } })
        assert.equal(response.status, 401)
        assert.equal(await response.text(), 'no')
        await front.nextRecord()
      }
      assert.equal(backend.connections, 1)
    })
  })
}
