import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import tls, { type SecureContext } from 'node:tls'
import { CertificateTable } from '../../src/fronts/certificates.ts'
import {
  type CertificateProvider,
  createProxy,
  type ListenerTls,
  type ListenOptions,
  type ProviderListener,
  type ProxyOptions,
} from '../../src/index.ts'
import { manualClock, mockBackend, recordingLogger } from '../../src/testing/index.ts'
import { directory } from '../cli/command.ts'
import { certificate, expiredCertificate, key } from '../support/certificates.ts'
import { oneTest, oneTestRenewed, wildTest } from '../support/named-certificates.ts'
import { visit } from '../support/tls-clients.ts'

const HERE = { port: 0, host: '127.0.0.1' } as const
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const
const OWN = { cert: certificate, key }

/** A proxy that listens with TLS. */
async function secure(
  tls: NonNullable<ListenOptions['tls']>,
  { protocols, ...options }: Partial<ProxyOptions> & Pick<ListenOptions, 'protocols'> = {},
) {
  const backend = await mockBackend({ body: 'hello' })
  const proxy = createProxy({ target: backend.url, ...options })
  const { port } = await proxy.listen({ ...HERE, tls, protocols })
  return {
    proxy,
    port,
    backend,
    async [Symbol.asyncDispose]() {
      await proxy.close()
      await backend.close()
    },
  }
}

for (const version of VERSIONS) {
  const only = { minVersion: version, maxVersion: version }

  test(`${version}: a client gets the certificate of the name that it asks for, or the first one`, async () => {
    await using run = await secure({ certificates: [OWN, oneTest, wildTest] })
    const expected = {
      'one.test': 'one',
      'ALSO.one.test': 'one',
      'x.wild.test': 'wild',
      'x.y.wild.test': 'heddle-test',
      'wild.test': 'heddle-test',
      'unknown.test': 'heddle-test',
      localhost: 'heddle-test',
      '': 'heddle-test',
    }
    for (const [servername, name] of Object.entries(expected)) {
      assert.equal((await visit(run.port, { servername, ...only })).name, name, servername)
    }
  })

  test(`${version}: sessions are resumed, for each name`, async () => {
    await using run = await secure({ certificates: [OWN, oneTest] })
    const { session } = await visit(run.port, { servername: 'one.test', ...only })
    const again = await visit(run.port, { servername: 'one.test', session, ...only })
    assert.equal(again.isResumed, true)
    assert.match(again.text, /hello$/)
  })

  test(`${version}: another certificate keeps sessions, and a new key of tickets ends them`, async () => {
    const clock = manualClock(0, { epochMs: Date.now() })
    const ticketRotationMs = 3_600_000
    await using run = await secure({ certificates: [OWN, oneTest], ticketRotationMs }, { clock })
    const first = await visit(run.port, { servername: 'localhost', ...only })
    const ask = async () =>
      (await visit(run.port, { servername: 'localhost', session: first.session, ...only })).isResumed
    assert.equal(await ask(), true)
    await run.proxy.replaceCertificate(oneTestRenewed)
    assert.equal((await visit(run.port, { servername: 'one.test', ...only })).name, 'one-new')
    assert.equal(await ask(), true)
    // The default certificate is that of the server's own context.
    await run.proxy.replaceCertificate({ ...OWN, cert: `${certificate}\n` })
    assert.equal(await ask(), true)
    clock.advance(ticketRotationMs - 1)
    assert.equal(await ask(), true)
    const named = await visit(run.port, { servername: 'one.test', ...only })
    clock.advance(1)
    assert.equal(await ask(), false)
    const later = await visit(run.port, { servername: 'one.test', session: named.session, ...only })
    assert.equal(later.isResumed, false)
    const again = await visit(run.port, { servername: 'one.test', session: later.session, ...only })
    assert.equal(again.isResumed, true)
  })

  test(`${version}: with ticketKeys of their own, machines resume each other's sessions, for ever`, async () => {
    const clock = manualClock(0, { epochMs: Date.now() })
    const tls = { ...OWN, ticketKeys: randomBytes(48) }
    await using one = await secure(tls, { clock })
    await using other = await secure(tls, { clock })
    const { session } = await visit(one.port, { servername: 'localhost', ...only })
    clock.advance(48 * 3_600_000)
    assert.equal((await visit(other.port, { servername: 'localhost', session, ...only })).isResumed, true)
  })
}

test('names of the options are those that get the certificate', async () => {
  await using run = await secure({ certificates: [OWN, { ...oneTest, names: ['One.test'] }] })
  assert.equal((await visit(run.port, { servername: 'one.test' })).name, 'one')
  assert.equal((await visit(run.port, { servername: 'also.one.test' })).name, 'heddle-test')
})

test('of two certificates with one name the first one serves it', async () => {
  await using run = await secure({ certificates: [OWN, oneTest, oneTestRenewed] })
  assert.equal((await visit(run.port, { servername: 'one.test' })).name, 'one')
})

test('minVersion refuses older clients', async () => {
  await using run = await secure({ certificates: [OWN, oneTest], minVersion: 'TLSv1.3' })
  await assert.rejects(visit(run.port, { servername: 'one.test', maxVersion: 'TLSv1.2' }), /protocol version/)
  assert.equal((await visit(run.port, { servername: 'one.test' })).name, 'one')
})

test('a certificate by call gets all its names; one without names of its own is dropped', async () => {
  await using run = await secure({ certificates: [OWN, { ...oneTest, names: ['one.test'] }] })
  await run.proxy.replaceCertificate(wildTest)
  await run.proxy.replaceCertificate({ ...oneTestRenewed, names: ['also.one.test'] })
  const [listener] = run.proxy.stats().tls
  assert.deepEqual(
    listener?.certificates.map(({ names, subject }) => [subject, names]),
    [
      ['CN=heddle-test', ['localhost', 'backend.test']],
      ['CN=one', ['one.test']],
      ['CN=wild', ['*.wild.test']],
      ['CN=one-new', ['also.one.test']],
    ],
  )
  await run.proxy.replaceCertificate(oneTestRenewed)
  const names = () => run.proxy.stats().tls[0]?.certificates.map(({ subject }) => subject)
  assert.deepEqual(names(), ['CN=heddle-test', 'CN=one-new', 'CN=wild'])
  assert.equal((await visit(run.port, { servername: 'one.test' })).name, 'one-new')
})

test('stats say when certificates expire', async () => {
  const logger = recordingLogger()
  await using run = await secure({ certificates: [OWN, { cert: expiredCertificate, key }] }, { logger })
  const [listener, ...others] = run.proxy.stats().tls
  assert.deepEqual(others, [])
  const [own, expired] = listener?.certificates ?? []
  assert.ok(own !== undefined && expired !== undefined)
  assert.ok(own.daysLeft > 36_000 && own.daysLeft < 36_525)
  assert.equal(own.fault, null)
  assert.equal(expired.validTo, '2020-02-01T00:00:00.000Z')
  assert.ok(expired.daysLeft < -2000)
  assert.match(logger.messages('warn').join(), /certificates\[1\]\.cert: .* \(CN=heddle-expired\) expired on/)
})

for (const way of ['watch', 'call'] as const) {
  test(`files that have changed are used for new connections (${way})`, async (t) => {
    const folder = directory(t)
    const [cert, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    const write = async (one: { cert: string; key: string }) => {
      for (const [file, text] of [
        [cert, one.cert],
        [keyFile, one.key],
      ] as const) {
        await writeFile(`${file}.new`, text)
        await rename(`${file}.new`, file)
      }
    }
    await write(oneTest)
    const clock = manualClock(0, { epochMs: Date.now() })
    const logger = recordingLogger()
    const reload = way === 'watch' ? 'watch' : false
    const certificates = [OWN, { cert, key: keyFile }]
    await using run = await secure({ certificates, reload }, { clock, logger })
    const { proxy, port } = run
    const served = async () => (await visit(port, { servername: 'one.test' })).name
    const errors = () => logger.messages('error')
    /** Until the files have been looked at. */
    const look = async (isDone: () => boolean): Promise<void> => {
      if (way === 'call') return proxy.reloadCertificates()
      clock.advance(10_000)
      while (!isDone()) await new Promise((resolve) => setImmediate(resolve))
    }
    const subjects = () =>
      proxy
        .stats()
        .tls[0]?.certificates.map(({ subject }) => subject)
        .join()
    assert.equal(await served(), 'one')
    if (way === 'call') clock.advance(60_000)

    // A fault keeps the old one, and is logged once.
    await writeFile(cert, oneTestRenewed.cert)
    await look(() => errors().length > 0)
    assert.match(
      errors().join(),
      /certificates\[1\]\.key is not the private key of the certificate in .*; what was read before stays/,
    )
    assert.match(String(proxy.stats().tls[0]?.certificates[1]?.fault), /is not the private key/)
    await proxy.reloadCertificates()
    await writeFile(cert, `${oneTestRenewed.cert}\n`)
    await proxy.reloadCertificates()
    assert.equal(errors().length, 1)
    assert.equal(await served(), 'one')

    await write(oneTestRenewed)
    await look(() => subjects() === 'CN=heddle-test,CN=one-new')
    assert.equal(await served(), 'one-new')
    assert.equal(proxy.stats().tls[0]?.certificates[1]?.fault, null)

    await write({ cert: expiredCertificate, key })
    await look(() => errors().length > 1)
    assert.match(errors().join(), /certificates\[1\]\.cert: the certificate \(CN=heddle-expired\) expired on/)
    assert.equal(await served(), 'one-new')
    const before = errors().length
    await rename(cert, `${cert}.gone`)
    await look(() => errors().length > before)
    assert.match(errors().at(-1) ?? '', /names a file that does not exist/)
    assert.equal(await served(), 'one-new')
  })
}

test('a listener that cannot listen leaves neither certificates nor timers', async () => {
  const clock = manualClock(0, { epochMs: Date.now() })
  await using proxy = createProxy({ target: 'http://127.0.0.1:1', clock })
  const scheduled = clock.scheduled
  const { port } = await proxy.listen({ ...HERE, tls: { certificates: [OWN] } })
  const withOne = clock.scheduled
  assert.equal(withOne, scheduled + 1)
  await assert.rejects(proxy.listen({ ...HERE, port, tls: { certificates: [OWN] } }), /EADDRINUSE/)
  assert.equal(proxy.stats().tls.length, 1)
  assert.equal(clock.scheduled, withOne)
})

test('contexts are made on first use, kept, and shared with those of a change; the least recently used go', (t) => {
  const served = (one: { cert: string; key: string }, name: string) => ({ ...one, names: [name] })
  const state = (ca: string): ListenerTls => ({
    listener: 1,
    options: { ca },
    certificates: [served(OWN, 'localhost'), served(oneTest, 'one.test'), served(wildTest, '*.wild.test')],
    challenges: null,
    clientAuth: null,
  })
  const table = new CertificateTable(state(certificate), 2)
  const create = t.mock.method(tls, 'createSecureContext')
  const contextOf = (name: string) => {
    let found: SecureContext | undefined
    table.options([]).SNICallback?.(name, (error, context) => {
      assert.equal(error, null)
      found = context
    })
    return found
  }
  assert.equal(contextOf('localhost'), undefined)
  const one = contextOf('one.test')
  assert.ok(one)
  assert.equal(contextOf('one.test'), one)
  assert.equal(create.mock.callCount(), 1)
  const server = tls.createServer()
  // A thread gets a copy of all certificates.
  table.replace(structuredClone(state(certificate)), server)
  assert.equal(contextOf('one.test'), one)
  const next = state(certificate)
  table.replace({ ...next, certificates: [...next.certificates, served(oneTestRenewed, 'also.one.test')] }, server)
  const wild = contextOf('a.wild.test')
  assert.equal(contextOf('one.test'), one)
  assert.ok(contextOf('also.one.test'))
  assert.equal(contextOf('one.test'), one)
  assert.notEqual(contextOf('b.wild.test'), wild)
  // Other authorities need other contexts.
  table.replace(state(oneTest.cert), server)
  assert.notEqual(contextOf('one.test'), one)
})

test('the certificate of a challenge is for clients that ask for acme-tls/1, and for nobody else', async (t) => {
  const served = { ...wildTest, names: ['one.test'] }
  let listener: ProviderListener | undefined
  const calls: string[] = []
  const challenges: (typeof served)[] = []
  const provider: CertificateProvider = {
    open(given) {
      listener = given
      const [begin, close] = [() => void calls.push('begin'), () => void calls.push('close')]
      const one = { ...oneTest, names: ['one.test'] }
      const validTo = new Date(Date.now() + 29.5 * 86_400_000).toISOString()
      const names = [{ name: 'one.test', certificate: one, subject: 'CN=one', validTo, fault: 'x' }]
      return { names, challenges, begin, close }
    },
  }
  const run = await secure({ certificates: [provider, OWN] }, { protocols: ['h2', 'http/1.1'] })
  t.after(() => run[Symbol.asyncDispose]())
  const ask = (ALPNProtocols: string[], more: tls.ConnectionOptions = {}): Promise<string> =>
    new Promise((resolve, reject) => {
      const options = { port: run.port, host: '127.0.0.1', servername: 'one.test', rejectUnauthorized: false }
      const socket = tls.connect({ ...options, ALPNProtocols, ...more })
      let found = ''
      socket.on('secureConnect', () => {
        found = `${socket.getPeerCertificate().subject.CN} ${socket.alpnProtocol}`
        if (socket.alpnProtocol !== 'acme-tls/1') socket.destroy()
      })
      socket.on('error', reject)
      // For a challenge the server ends it.
      socket.on('close', () => resolve(found))
    })
  // Nothing is shown yet.
  await assert.rejects(ask(['acme-tls/1']))
  challenges.push(served)
  await listener?.apply()
  for (const protocols of [['acme-tls/1'], ['http/1.1', 'acme-tls/1']])
    assert.equal(await ask(protocols), 'wild acme-tls/1')
  await assert.rejects(ask(['acme-tls/1'], { servername: 'localhost' }))
  for (const version of VERSIONS) {
    const only = { minVersion: version, maxVersion: version }
    assert.equal(await ask(['http/1.1'], only), 'one http/1.1')
    assert.equal(await ask(['http/1.1', 'h2'], only), 'one h2')
    assert.equal(await ask([], only), 'one false')
    await assert.rejects(ask(['other'], only), /no application protocol/)
  }
  // In TLS 1.2 nobody knows in time that it was asked for.
  assert.equal(await ask(['acme-tls/1'], { maxVersion: 'TLSv1.2' }), 'one acme-tls/1')
  challenges.pop()
  await listener?.apply()
  await assert.rejects(ask(['acme-tls/1']))
  assert.deepEqual(
    run.proxy
      .stats()
      .tls[0]?.certificates.map(({ names, subject, daysLeft, fault }) => [names, subject, daysLeft, fault])[1],
    [['one.test'], 'CN=one', 29, 'x'],
  )
  await run.proxy.close()
  assert.deepEqual(calls, ['begin', 'close'])
})

test('what a provider of certificates throws, listen() rejects with', async () => {
  const provider = {
    open() {
      throw new Error('no folder')
    },
  }
  await using proxy = createProxy({ backends: [] })
  await assert.rejects(proxy.listen({ ...HERE, tls: { certificates: [provider] } }), /^Error: no folder$/)
  assert.deepEqual(proxy.stats().tls, [])
})
