import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { type JwtOptions, jwt } from '../../src/adapters/jwt.ts'
import { deadPort, type MockScript, manualClock, mockBackend } from '../../src/testing/index.ts'
import { through } from '../support/interceptors.ts'
import { ALL_FRONTS, rounds, runProxy } from '../support/running-proxy.ts'
import { CHECKS, type Signer, signer, tokenOf } from './tokens.ts'

const MINUTE = 60_000

let first: Signer
let second: Signer
before(async () => {
  first = await signer('ES256', 'first')
  second = await signer('ES256', 'second')
})

/** A set of keys, as a response. */
const setOf = (...signers: Signer[]) => ({
  headers: ['Content-Type', 'application/json'],
  body: JSON.stringify({ keys: signers.map(({ jwk }) => jwk) }),
})

/** A proxy whose guard loads its keys from a server. */
async function guarded(script: MockScript, more: Partial<JwtOptions> = {}) {
  const clock = manualClock()
  const backend = await mockBackend()
  const server = await mockBackend(script)
  const options = { ...CHECKS, jwksUrl: `${server.url}/jwks.json`, jwksMaxAgeMs: 5 * MINUTE, ...more }
  const front = await runProxy(through(backend, [jwt(options, clock)]))
  const tokens = new Map<Signer, string>()
  return {
    clock,
    backend,
    server,
    front,
    /** Sends a request with a token that is good for a day, always the same one. */
    async ask(by: Signer): Promise<number> {
      let token = tokens.get(by)
      if (token === undefined) {
        token = await tokenOf(by, clock, { exp: Math.floor(clock.epoch() / 1000) + 86_400 })
        tokens.set(by, token)
      }
      return (await fetch(front.url, { headers: { authorization: `Bearer ${token}` } })).status
    },
    /** Waits until the keys were asked for that often, and have come. */
    async untilLoaded(count: number): Promise<void> {
      while (server.requests.length < count) await rounds(1)
      await rounds(50)
    },
    async [Symbol.asyncDispose]() {
      await front[Symbol.asyncDispose]()
      await Promise.all([backend.close(), server.close()])
    },
  }
}

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: keys are loaded once, when the first token comes`, async () => {
    await using backend = await mockBackend()
    await using server = await mockBackend(setOf(first, second))
    const clock = manualClock()
    await using front = await run(through(backend, [jwt({ ...CHECKS, jwksUrl: `${server.url}/jwks.json` }, clock)]))
    assert.equal((await fetch(front.url)).status, 401)
    assert.equal(server.requests.length, 0)
    const ask = async (by: Signer): Promise<number> =>
      (await fetch(front.url, { headers: { authorization: `Bearer ${await tokenOf(by, clock)}` } })).status
    assert.deepEqual(await Promise.all([ask(first), ask(second), ask(first)]), [200, 200, 200])
    assert.equal(server.requests.length, 1)
    const { path, headers } = await server.nextRequest()
    assert.equal(path, '/jwks.json')
    assert.ok(headers.includes('application/jwk-set+json, application/json'))
  })

  test(`${name}: without keys a request is refused, and the next one does not wait`, async () => {
    await using backend = await mockBackend()
    const { url } = await deadPort()
    const clock = manualClock()
    const token = await tokenOf(first, clock)
    const scripts: [MockScript | null, RegExp][] = [
      [null, /jwt: no keys from http:\/\/127\.0\.0\.1:\d+\/jwks\.json: fetch failed: .*ECONNREFUSED/],
      [{ status: 404, body: 'x' }, /status 404/],
      [{ status: 302, headers: ['Location', '/other'] }, /status 302/],
      [{ body: 'no JSON' }, /JSON/],
      [{ body: '{"keys":7}' }, /JSON Web Key Set malformed/],
      [(_request, reply) => reply.reset(), /fetch failed|terminated|other side closed|ECONNRESET/],
    ]
    for (const [script, message] of scripts) {
      await using server = await mockBackend(script ?? {})
      const jwksUrl = `${script === null ? url : server.url}/jwks.json?secret=1`
      await using front = await run(through(backend, [jwt({ ...CHECKS, jwksUrl }, clock)]))
      for (let i = 0; i < 2; i++) {
        const response = await fetch(front.url, { headers: { authorization: `Bearer ${token}` } })
        assert.equal(response.status, 503, String(message))
        assert.match(await response.text(), /ERR_PROXY_AUTH_UNAVAILABLE/)
      }
      assert.match(front.errors[0]?.message ?? '', message)
      assert.doesNotMatch(front.errors[0]?.message ?? '', /secret/)
      assert.ok(server.requests.length <= 1)
    }
    assert.equal(backend.requests.length, 0)
  })
}

test('keys that take too long are not waited for', async () => {
  await using proxy = await guarded((_request, reply) => void reply.isClosed, { jwksTimeoutMs: 50 })
  assert.equal(await proxy.ask(first), 503)
  assert.match(proxy.front.errors[0]?.message ?? '', /timeout/)
})

test('after a failure keys are asked for again, a second later', async () => {
  await using proxy = await guarded([{ status: 500 }, setOf(first)])
  assert.equal(await proxy.ask(first), 503)
  proxy.clock.advance(999)
  assert.equal(await proxy.ask(first), 503)
  proxy.clock.advance(1)
  assert.equal(await proxy.ask(first), 200)
  assert.equal(proxy.server.requests.length, 2)
})

test('a new key is found at once, but not asked for by everybody', async () => {
  await using proxy = await guarded([setOf(first), setOf(first, second)])
  const other = await signer('ES256', 'nobody knows it')
  assert.equal(await proxy.ask(first), 200)
  // Anybody can make a token with another key.
  for (let i = 0; i < 3; i++) assert.equal(await proxy.ask(other), 401)
  assert.equal(proxy.server.requests.length, 1)
  proxy.clock.advance(10_000)
  assert.equal(await proxy.ask(second), 200)
  assert.equal(proxy.server.requests.length, 2)
  for (let i = 0; i < 3; i++) assert.equal(await proxy.ask(other), 401)
  assert.equal(proxy.server.requests.length, 2)
})

test('a token with a key that cannot be looked for is not refused as a bad one', async () => {
  await using proxy = await guarded([setOf(first), { status: 500 }, setOf(first, second)])
  assert.equal(await proxy.ask(first), 200)
  proxy.clock.advance(10_000)
  assert.equal(await proxy.ask(second), 503)
  assert.equal(await proxy.ask(first), 200)
  proxy.clock.advance(1000)
  assert.equal(await proxy.ask(second), 200)
})

test('a withdrawn key is refused within twice jwksMaxAgeMs, remembered tokens included', async () => {
  await using proxy = await guarded([setOf(first, second), setOf(second)], { cacheMs: 60 * MINUTE })
  const { ask, clock, server } = proxy
  assert.deepEqual([await ask(first), await ask(second)], [200, 200])
  clock.advance(5 * MINUTE - 1)
  assert.equal(await ask(first), 200)
  assert.equal(server.requests.length, 1)
  // Loaded again in the background, by a request that does not wait for it.
  clock.advance(1)
  assert.equal(await ask(second), 200)
  await proxy.untilLoaded(2)
  assert.equal(await ask(first), 401)
  assert.equal(await ask(second), 200)
})

test('while the keys are the same, tokens stay remembered', async (t) => {
  await using proxy = await guarded(setOf(first), { cacheMs: 60 * MINUTE })
  const { mock } = t.mock.method(crypto.subtle, 'verify')
  for (let loads = 1; loads <= 3; loads++) {
    assert.equal(await proxy.ask(first), 200)
    await proxy.untilLoaded(loads)
    proxy.clock.advance(5 * MINUTE)
  }
  assert.equal(mock.callCount(), 1)
})

test('after a long pause nobody passes with old keys', async () => {
  await using proxy = await guarded([setOf(first), setOf(second)], { cacheMs: 600 * MINUTE })
  assert.equal(await proxy.ask(first), 200)
  proxy.clock.advance(10 * MINUTE)
  assert.equal(await proxy.ask(first), 401)
  assert.equal(await proxy.ask(second), 200)
})

test('while keys cannot be loaded the old ones are used, for a while', async () => {
  await using proxy = await guarded([setOf(first), { status: 500 }], {
    jwksMaxStaleMs: 30 * MINUTE,
    cacheMs: 600 * MINUTE,
  })
  const { ask, clock, server, front } = proxy
  assert.equal(await ask(first), 200)
  clock.advance(35 * MINUTE - 1)
  assert.equal(await ask(first), 200)
  assert.equal(server.requests.length, 2)
  assert.deepEqual(
    front.errors.map(({ code }) => code),
    [],
  )
  clock.advance(1)
  assert.equal(await ask(first), 503)
  server.use(setOf(first))
  clock.advance(1000)
  assert.equal(await ask(first), 200)
})

test('a verification that began with keys that are withdrawn meanwhile is not remembered', async (t) => {
  await using proxy = await guarded([setOf(first), setOf(second)], { cacheMs: 60 * MINUTE })
  const { ask, clock } = proxy
  await ask(second)
  clock.advance(5 * MINUTE)
  // The verification takes until the new keys have come.
  const verify = crypto.subtle.verify.bind(crypto.subtle)
  const mocked = t.mock.method(crypto.subtle, 'verify', async (...args: Parameters<typeof verify>) => {
    await proxy.untilLoaded(2)
    return verify(...args)
  })
  assert.equal(await ask(first), 200)
  mocked.mock.restore()
  assert.equal(await ask(first), 401)
})
