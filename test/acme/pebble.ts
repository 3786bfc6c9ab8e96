import assert from 'node:assert/strict'
import type { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import tls from 'node:tls'
import { request } from 'undici'
import { type AcmeOptions, acme } from '../../src/acme/index.ts'
import { createProxy, type ListenCertificate, type Proxy, workerThreads } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { directory, run, start } from '../cli/command.ts'
import { oneTest } from '../support/named-certificates.ts'
import { LIFE_MS, type Pebble, startPebble } from './pebble-server.ts'
import { temporary, type WaitingLogger, waitingLogger } from './support.ts'

/*
 * Orders from Pebble (`apt-get install pebble`). Not one of the tests of `npm test`: `npm run test:acme`, and .ci/run.
 */

const NEW = /^info: acme: there is a new certificate for/
const FAILED = /^error: acme: the certificate for .* could not be ordered/
const START_MS = 1000

let pebble: Pebble
before(async () => {
  pebble = await startPebble()
})
after(() => pebble[Symbol.asyncDispose]())

function options(folder: string, more: Partial<AcmeOptions> = {}): AcmeOptions {
  const { directory, ca } = pebble
  return { names: ['a.test'], email: 'admin@a.test', agreeToTerms: true, folder, directory, ca, ...more }
}

/** Subject and issuer of what a client gets that verifies it. Rejects if it cannot. */
async function seen(name: string, ca: string, more: tls.ConnectionOptions = {}): Promise<X509Certificate> {
  const port = pebble.tlsPort
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, servername: name, ca, ...more }, () => {
      resolve(socket.getPeerX509Certificate() as X509Certificate)
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

interface Running extends AsyncDisposable {
  readonly proxy: Proxy
  readonly clock: ReturnType<typeof manualClock>
  readonly logger: WaitingLogger
}

/** A proxy on the port of tls-alpn-01, whose clock is a test's. */
async function listen(
  certificates: readonly (ListenCertificate | ReturnType<typeof acme>)[],
  clock = manualClock(0, { epochMs: Date.now() }),
  threads = 0,
): Promise<Running> {
  const logger = waitingLogger()
  // Threads have no clock of a test's.
  const time = threads === 0 ? { clock } : { executor: workerThreads({ threads }) }
  const proxy = createProxy({ backends: [], logger, ...time })
  await proxy.listen({ port: pebble.tlsPort, host: '127.0.0.1', tls: { certificates } })
  return { proxy, clock, logger, [Symbol.asyncDispose]: () => proxy.close() }
}

test('tls-alpn-01: the listener is there at once, and has a certificate when it is ordered', async (t) => {
  const folder = temporary(t)
  await using running = await listen([acme(options(folder))])
  const { proxy, clock, logger } = running
  assert.match(await logger.next(/^warn/), /there is no certificate for a\.test yet/)
  await assert.rejects(seen('a.test', await pebble.root()), /handshake failure/)
  assert.deepEqual(proxy.stats().tls[0]?.certificates, [
    { names: ['a.test'], subject: '', validTo: '', daysLeft: 0, fault: null },
  ])
  clock.advance(START_MS)
  await logger.next(NEW)
  const { subjectAltName } = await seen('a.test', await pebble.root())
  assert.equal(subjectAltName, 'DNS:a.test')
  const [stats] = proxy.stats().tls[0]?.certificates ?? []
  assert.deepEqual([stats?.names, stats?.daysLeft, stats?.fault], [['a.test'], 89, null])
  assert.deepEqual(
    logger.lines.filter((line) => line.startsWith('error')),
    [],
  )
  // Only this user may read what is kept.
  const [own = ''] = readdirSync(folder)
  assert.equal(statSync(join(folder, own)).mode & 0o777, 0o700)
  const files = readdirSync(join(folder, own))
  assert.deepEqual(files.sort(), ['.gitignore', 'a.test.pem', 'account.key'])
  for (const file of files) assert.equal(statSync(join(folder, own, file)).mode & 0o777, 0o600)
})

test('http-01: the responder on another port answers, for two names and beside a certificate from files', async (t) => {
  const certificates = acme(options(temporary(t), { challenge: 'http-01', names: ['a.test', 'b.test'] }))
  await using backend = await mockBackend({ body: 'from the backend' })
  await using plain = createProxy({ target: backend.url, routes: [{ interceptors: [certificates.responder] }] })
  const { url } = await plain.listen({ port: pebble.httpPort, host: '127.0.0.1' })
  await using running = await listen([oneTest, certificates])
  running.clock.advance(START_MS)
  await running.logger.next(NEW)
  await running.logger.next(NEW)
  const root = await pebble.root()
  for (const name of ['a.test', 'b.test']) assert.equal((await seen(name, root)).subjectAltName, `DNS:${name}`)
  assert.match(String((await seen('one.test', oneTest.cert)).subjectAltName), /one\.test/)
  // What is no challenge of ours is the backend's.
  for (const path of ['/', '/.well-known/acme-challenge/of-another']) {
    const { body } = await request(url + path)
    assert.equal(await body.text(), 'from the backend')
  }
})

test('renewal at two thirds of the life, and nobody but the authority sees a challenge', async (t) => {
  const root = await pebble.root()
  await using running = await listen([acme(options(temporary(t)))])
  const { clock, logger } = running
  clock.advance(START_MS)
  await logger.next(NEW)
  const first = await seen('a.test', root)
  clock.advance((LIFE_MS * 2) / 3 - 60_000)
  assert.equal((await seen('a.test', root)).serialNumber, first.serialNumber)
  clock.advance(120_000)
  let isRenewed = false
  const renewed = logger.next(NEW).then(() => {
    isRenewed = true
  })
  let visits = 0
  // Each of them verifies what it gets.
  for (; !isRenewed; visits++) {
    const maxVersion = visits % 2 === 0 ? 'TLSv1.3' : 'TLSv1.2'
    await seen('a.test', root, { maxVersion, ALPNProtocols: ['h2', 'http/1.1'] })
  }
  await renewed
  assert.ok(visits > 2, `${visits} visits`)
  assert.notEqual((await seen('a.test', root)).serialNumber, first.serialNumber)
})

test('after a restart the stored certificate serves, without an order', async (t) => {
  const folder = temporary(t)
  const root = await pebble.root()
  let serial: string
  {
    await using running = await listen([acme(options(folder))])
    running.clock.advance(START_MS)
    await running.logger.next(NEW)
    serial = (await seen('a.test', root)).serialNumber
  }
  // Nobody to order from.
  await pebble.stop()
  {
    await using running = await listen([acme(options(folder))])
    assert.equal((await seen('a.test', root)).serialNumber, serial)
    running.clock.advance(LIFE_MS / 2)
    assert.equal((await seen('a.test', root)).serialNumber, serial)
    assert.deepEqual(running.logger.lines, [])
    // When it is due, it cannot be renewed, and goes on.
    running.clock.advance(LIFE_MS / 6)
    const line = await running.logger.next(FAILED)
    assert.match(line, /cannot be reached: .*ECONNREFUSED.*next attempt is in 1 min; the one in use is valid until/)
    assert.equal((await seen('a.test', root)).serialNumber, serial)
    assert.match(String(running.proxy.stats().tls[0]?.certificates[0]?.fault), /ECONNREFUSED/)
  }
  await pebble.restart()
})

test('an account that the authority has forgotten is made again, with the same key', async (t) => {
  const folder = temporary(t)
  await using running = await listen([acme(options(folder))])
  running.clock.advance(START_MS)
  await running.logger.next(NEW)
  const file = join(folder, readdirSync(folder)[0] ?? '', 'account.key')
  const key = readFileSync(file, 'utf8')
  await pebble.restart()
  running.clock.advance((LIFE_MS * 2) / 3)
  assert.match(await running.logger.next(FAILED), /accountDoesNotExist/)
  running.clock.advance(2 * 60_000)
  await running.logger.next(NEW)
  assert.equal(readFileSync(file, 'utf8'), key)
})

test('a name that fails is tried again later and later', async (t) => {
  const certificates = acme(options(temporary(t), { challenge: 'http-01', names: ['a.test'] }))
  const { responder } = certificates
  await using running = await listen([certificates])
  const { clock, logger, proxy } = running
  clock.advance(START_MS)
  // Nobody listens on port 80.
  const line = await logger.next(FAILED)
  assert.match(line, /the authority did not find a\.test here: http-01: .*refused.*; the next attempt is in 1 min/)
  assert.match(String(proxy.stats().tls[0]?.certificates[0]?.fault), /refused/)
  for (const wait of ['5 min', '15 min', '60 min', '3 h', '8 h', '1[0-9] h|2[0-6] h']) {
    clock.advance(27 * 60 * 60 * 1000)
    assert.match(
      await logger.next(FAILED),
      new RegExp(`the next attempt is in (${wait})`.replace('60 min', '\\d+ min')),
    )
  }
  await using plain = createProxy({ backends: [], routes: [{ interceptors: [responder] }] })
  await plain.listen({ port: pebble.httpPort, host: '127.0.0.1' })
  clock.advance(27 * 60 * 60 * 1000)
  await logger.next(NEW)
  assert.equal(proxy.stats().tls[0]?.certificates[0]?.fault, null)
})

test('two threads show the challenge and serve the certificate, and so do later ones', async (t) => {
  await using running = await listen([acme(options(temporary(t)))], undefined, 2)
  const { proxy, logger } = running
  await logger.next(NEW)
  const root = await pebble.root()
  const all = async (): Promise<number> => {
    const found = await Promise.all(Array.from({ length: 8 }, () => seen('a.test', root)))
    return new Set(found.map(({ serialNumber }) => serialNumber)).size
  }
  assert.equal(await all(), 1)
  await proxy.reload()
  assert.equal(await all(), 1)
})

test('two of the same folder order one after another, and a name once', async (t) => {
  const folder = temporary(t)
  await using running = await listen([acme(options(folder)), acme(options(folder, { names: ['a.test', 'b.test'] }))])
  running.clock.advance(START_MS)
  await running.logger.next(NEW)
  await running.logger.next(NEW)
  const [first, second, third] = running.proxy.stats().tls[0]?.certificates ?? []
  assert.deepEqual([first?.names, second?.names, third?.names], [['a.test'], ['a.test'], ['b.test']])
  assert.equal(first?.validTo, second?.validTo)
  assert.equal(running.logger.lines.filter((line) => NEW.test(line)).length, 2)
})

test('external account binding: without it the authority refuses', async (t) => {
  const hmacKey = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W'
  const more = { externalAccountBindingRequired: true, externalAccountMACKeys: { 'kid-1': hmacKey } }
  await using binding = await startPebble({ ...more, tlsPort: pebble.tlsPort })
  const { directory } = binding
  for (const [eab, expected] of [
    [undefined, /^error.*externalAccountRequired/],
    [{ keyId: 'kid-2', hmacKey }, /^error.*kid-2|^error.*unauthorized/],
    [{ keyId: 'kid-1', hmacKey }, NEW],
  ] as const) {
    await using running = await listen([acme(options(temporary(t), { directory, eab }))])
    running.clock.advance(START_MS)
    await running.logger.next(expected)
  }
})

test('a directory whose certificate is not trusted: the log says which option helps', async (t) => {
  await using running = await listen([acme(options(temporary(t), { ca: undefined }))])
  running.clock.advance(START_MS)
  assert.match(await running.logger.next(FAILED), /cannot be reached: .*; if it is a private one, the option ca/)
})

for (const challenge of ['tls-alpn-01', 'http-01'] as const) {
  test(`the command orders by a configuration file, with ${challenge} and two threads`, async (t) => {
    await using backend = await mockBackend({ body: 'hello' })
    const { directory: url, tlsPort, httpPort } = pebble
    const host = '127.0.0.1'
    const acme = { names: ['a.test'], agreeToTerms: true, directory: url, ca: 'ca.pem', challenge }
    const config = {
      target: backend.url,
      threads: 2,
      listen: [
        { port: tlsPort, host, tls: { acme } },
        { port: httpPort, host, redirect: 'https' },
      ],
    }
    const cwd = directory(t, { 'heddle.config.json': JSON.stringify(config), 'ca.pem': pebble.ca })
    assert.match((await run(t, ['check'], cwd)).stdout, /^ok: .*\(https\)/)
    const heddle = start(t, [], cwd)
    await heddle.output(/there is a new certificate for a\.test/)
    assert.equal((await seen('a.test', await pebble.root())).subjectAltName, 'DNS:a.test')
    const { statusCode, headers } = await request(`http://127.0.0.1:${httpPort}/x`, { headers: { host: 'a.test' } })
    assert.deepEqual([statusCode, headers.location], [308, `https://a.test:${tlsPort}/x`])
    assert.deepEqual(readdirSync(join(cwd, 'acme')).length, 1)
  })
}

test('a file in the store that is broken is replaced', async (t) => {
  const folder = temporary(t)
  const certificates = acme(options(folder))
  {
    await using running = await listen([certificates])
    running.clock.advance(START_MS)
    await running.logger.next(NEW)
  }
  const file = join(folder, readdirSync(folder)[0] ?? '', 'a.test.pem')
  writeFileSync(file, readFileSync(file, 'utf8').slice(0, 300))
  await using running = await listen([acme(options(folder))])
  assert.match(await running.logger.next(/^warn/), /a\.test\.pem has no .*; it is not used, and another one is ordered/)
  running.clock.advance(START_MS)
  await running.logger.next(NEW)
})
