import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { PemFiles } from '../../src/cli/pem-files.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { certificate, expiredCertificate, key, renewedKey } from '../support/certificates.ts'
import { client, clientCa, oneTest, oneTestRenewed } from '../support/named-certificates.ts'
import { visit } from '../support/tls-clients.ts'
import { without } from '../threads/threaded.ts'
import { directory, run, start } from './command.ts'

/** A configuration file in a folder of its own, with PEM files beside it. @returns the folder above. */
function folder(t: TestContext, config: object): string {
  const cwd = directory(t)
  const conf = join(cwd, 'conf')
  mkdirSync(join(conf, 'certs'), { recursive: true })
  const files = {
    'heddle.config.json': JSON.stringify(config, null, 1),
    'certs/site.pem': certificate,
    'certs/key.pem': key,
    'certs/other-key.pem': renewedKey,
    'certs/old.pem': expiredCertificate,
    'certs/hello.pem': 'hello',
    'certs/broken.pem': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
    'certs/encrypted.pem': '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n',
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(conf, name), text)
  writeFileSync(join(conf, 'certs/der.pem'), Buffer.from(certificate.replace(/-----.*?-----|\s/g, ''), 'base64'))
  return cwd
}

const FILE = 'conf/heddle.config.json'

/** The body of a response over TLS, whose certificate must be valid. */
function get(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    https
      .get(url, { ca, servername: 'localhost', agent: false }, async (res) => {
        let body = ''
        for await (const chunk of res) body += chunk
        resolve(body)
      })
      .on('error', reject)
  })
}

test('the file has TLS for its listener, with paths relative to its folder', async (t) => {
  await using backend = await mockBackend({ body: 'hello' })
  const listen = { port: 0, host: '127.0.0.1', tls: { cert: 'certs/site.pem', key: 'certs/key.pem' } }
  const cwd = folder(t, { target: backend.url, listen })
  const heddle = start(t, ['--config', FILE], cwd)
  const url = await heddle.url()
  assert.match(url, /^https:/)
  assert.equal(await get(url, certificate), 'hello')
})

test('PEM text in the file is accepted in place of a path', async (t) => {
  const tls = { cert: certificate, key }
  const cwd = folder(t, { target: { url: 'https://a', tls: { ca: [certificate] } }, listen: { port: 1, tls } })
  const { stdout, stderr } = await run(t, ['check', FILE], cwd)
  assert.equal(stderr, '')
  assert.equal(stdout, `ok: ${FILE}: 1 group, 1 backend, 0 routes, listening on *:1 (https)\n`)
})

for (const threads of [1, 2]) {
  test(`tls.ca, cert and key of backends are read from their paths (threads: ${threads})`, async (t) => {
    // It asks for the certificate of the proxy, and accepts that of the test alone.
    const server = https.createServer({ cert: certificate, key, ca: certificate, requestCert: true }, (_, res) =>
      res.end('secret'),
    )
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const tls = { ca: 'certs/site.pem', cert: 'certs/site.pem', key: 'certs/key.pem', servername: 'localhost' }
    const groups = { api: { backends: [{ url: `https://127.0.0.1:${port}`, tls }] } }
    const cwd = folder(t, { groups, routes: [{ group: 'api' }], listen: '127.0.0.1:0', threads })
    const response = await fetch(await start(t, ['-c', FILE], cwd).url(), { headers: { connection: 'close' } })
    assert.equal(await response.text(), 'secret')
  })
}

test('check names file, line, column and fault of every PEM file', async (t) => {
  const listen = [
    { port: 1, tls: { cert: 'certs/none.pem', key: 'certs' } },
    { port: 2, tls: { cert: 'certs/hello.pem', key: 'certs/site.pem' } },
    { port: 3, tls: { cert: 'certs/site.pem', key: 'certs/other-key.pem' } },
    { port: 4, tls: { cert: 'certs/der.pem', key: 'certs/encrypted.pem' } },
    { port: 5, tls: { cert: 'certs/key.pem', key: 7 } },
    { port: 6, tls: { cert: 'certs/site.pem' } },
    { port: 7, tls: {} },
  ]
  const tls = { ca: ['certs/site.pem', 'certs/broken.pem'] }
  const cwd = folder(t, { target: { url: 'https://a', tls }, listen })
  const { code, stdout, stderr } = await run(t, ['check', FILE], cwd)
  assert.equal(code, 2)
  assert.equal(stdout, '')
  for (const line of [
    /:\d+:\d+: target\.tls\.ca\[1\] names a file that has a certificate that cannot be parsed: .*conf\/certs\/broken\.pem\n/,
    /:15:13: listen\[0\]\.tls\.cert names a file that does not exist: .*conf\/certs\/none\.pem\n/,
    /:16:12: listen\[0\]\.tls\.key names a folder, not a file: .*conf\/certs\n/,
    /listen\[1\]\.tls\.cert names a file that is not PEM: /,
    /listen\[1\]\.tls\.key names a file that has no private key: /,
    /listen\[2\]\.tls\.key is not the private key of the certificate in listen\[2\]\.tls\.cert\n/,
    /listen\[3\]\.tls\.cert names a file that is not PEM; it looks like DER: /,
    /listen\[3\]\.tls\.key names a file that is encrypted with a passphrase; decrypt it with: openssl pkey/,
    /listen\[4\]\.tls\.cert names a file that has no certificate: /,
    /listen\[4\]\.tls\.key is 7\n/,
    /listen\[5\]\.tls\.key is missing, beside listen\[5\]\.tls\.cert\n/,
    /listen\[6\]\.tls has neither cert nor key\n/,
  ]) {
    assert.match(stderr, line)
  }
  assert.match(stderr, /^heddle: 12 options are wrong:\n/)
  assert.equal((await run(t, ['--config', FILE], cwd)).code, 2)
})

test('check does not print a key that stands where a path belongs, nor wait for a pipe', async (t) => {
  const base64 = key.replace(/-----.*?-----|\s/g, '')
  const listen = [
    { port: 1, tls: { cert: 'certs/site.pem', key: base64 } },
    { port: 2, tls: { cert: '/dev/zero', key: `"${key}"` } },
    { port: 3, tls: key },
    base64,
    { port: 5 },
    { port: 6, tls: { cert: 'certs/site.pem', key: 'certs/pipe' } },
  ]
  const cwd = folder(t, { target: 'http://a', listen })
  if (process.platform !== 'win32') execFileSync('mkfifo', [join(cwd, 'conf/certs/pipe')])
  const { code, stderr } = await run(t, ['check', FILE], cwd)
  assert.equal(code, 2)
  assert.match(stderr, /listen\[0\]\.tls\.key is a key or a certificate, but not PEM: that begins with -----BEGIN\n/)
  assert.match(stderr, /listen\[1\]\.tls\.cert names a pipe or a device, not a file: /)
  assert.match(stderr, /listen\[2\]\.tls is a key or a certificate\n/)
  assert.match(stderr, /listen\[3\] is a key or a certificate\n/)
  assert.match(stderr, /listen\[5\]\.tls\.key names a pipe or a device, not a file: /)
  for (let at = 20; at + 30 < base64.length; at += 64) assert.ok(!stderr.includes(base64.slice(at, at + 30)), stderr)
})

test('a PEM file that may not be read is a fault', {
  skip: process.getuid?.() === 0 && 'root may read all',
}, async (t) => {
  const cwd = folder(t, {
    target: 'http://a',
    listen: { port: 1, tls: { cert: 'certs/site.pem', key: 'certs/key.pem' } },
  })
  chmodSync(join(cwd, 'conf/certs/key.pem'), 0)
  const { code, stderr } = await run(t, ['check', FILE], cwd)
  assert.equal(code, 2)
  assert.match(stderr, /listen\.tls\.key names a file that this user may not read: /)
})

test('a certificate that has expired is a warning, in check and at the start', async (t) => {
  const cwd = folder(t, {
    target: 'http://127.0.0.1:1',
    listen: { port: 0, host: '127.0.0.1', tls: { cert: 'certs/old.pem', key: 'certs/key.pem' } },
  })
  const { code, stdout, stderr } = await run(t, ['check', FILE], cwd)
  assert.equal(code, 0)
  assert.match(
    stderr,
    /^heddle: warning: listen\.tls\.cert: the certificate \(CN=heddle-expired\) expired on .* 2020 GMT\n$/,
  )
  assert.match(stdout, /^ok: /)
  await start(t, ['-c', FILE], cwd).output(
    /"level":"warn".*listen: tls\.certificates\[0\]\.cert: the certificate \(CN=heddle-expired\) expired/,
  )
})

test('a certificate that is not valid yet is a warning', (t) => {
  const files = new PemFiles('/', [])
  t.mock.method(Date, 'now', () => 0)
  assert.notEqual(files.read({ cert: certificate, key }, 'listen.tls'), undefined)
  assert.match(String(files.warnings), /^listen\.tls\.cert: the certificate \(.*\) is not valid before /)
})

test('flags in place of the backends of the file make its PEM files unneeded', async (t) => {
  const cwd = folder(t, { target: { url: 'https://a', tls: { ca: 'certs/none.pem' } } })
  assert.equal((await run(t, ['check', FILE], cwd)).code, 2)
  assert.equal((await run(t, ['check', FILE, '-b', '3001'], cwd)).code, 0)
})

const NAMED = {
  certificates: [
    { cert: 'certs/site.pem', key: 'certs/key.pem' },
    { cert: 'certs/one.pem', key: 'certs/one-key.pem', names: ['one.test'] },
  ],
  minVersion: 'TLSv1.3',
  clientAuth: { ca: 'certs/ca.pem', mode: 'request', header: true },
  ticketRotationMs: 60_000,
}

for (const threads of [1, 2]) {
  const skip = threads > 1 && (await without())
  test(`the file has several certificates, and SIGHUP reads them again (threads: ${threads})`, { skip }, async (t) => {
    await using backend = await mockBackend((request, reply) =>
      reply.send({ body: String(request.header('client-cert')?.slice(0, 5)) }),
    )
    const listen = { port: 0, host: '127.0.0.1', tls: NAMED }
    const cwd = folder(t, { target: backend.url, listen, threads })
    const certs = join(cwd, 'conf/certs')
    writeFileSync(join(certs, 'one.pem'), oneTest.cert)
    writeFileSync(join(certs, 'one-key.pem'), oneTest.key)
    writeFileSync(join(certs, 'ca.pem'), clientCa)
    assert.deepEqual((await run(t, ['check', FILE], cwd)).stderr, '')
    const heddle = start(t, ['--config', FILE], cwd)
    const port = Number(new URL(await heddle.url()).port)
    assert.equal((await visit(port, { servername: 'localhost' })).name, 'heddle-test')
    const first = await visit(port, { servername: 'one.test', ...client })
    assert.equal(first.name, 'one')
    assert.match(first.text, /:MII/)
    await assert.rejects(visit(port, { maxVersion: 'TLSv1.2' }))
    writeFileSync(join(certs, 'one.pem'), oneTestRenewed.cert)
    writeFileSync(join(certs, 'one-key.pem'), oneTestRenewed.key)
    heddle.child.kill('SIGHUP')
    await heddle.output(
      /SIGHUP: changed files of certificates were read again; the rest of the configuration is read only/,
    )
    const later = await visit(port, { servername: 'one.test', session: first.session, ...client })
    assert.equal(later.isResumed, true)
    assert.equal((await visit(port, { servername: 'one.test' })).name, 'one-new')
    heddle.child.kill('SIGTERM')
    assert.equal((await heddle.exit()).code, 0)
  })
}

test('check names each fault in the options of TLS', async (t) => {
  const pair = { cert: 'certs/site.pem', key: 'certs/key.pem' }
  const ca = 'certs/site.pem'
  const listen = [
    { certificates: [] },
    { certificates: pair },
    { certificates: [pair, {}, 5] },
    { certificates: [{ ...pair, name: 'a' }], ...pair },
    {
      certificates: [
        { ...pair, names: 'localhost' },
        { ...pair, names: ['a.test'] },
      ],
    },
    { ...pair, minVersion: 'TLSv1', reload: true, ticketRotationMs: 5 },
    { ...pair, clientAuth: true },
    { ...pair, clientAuth: { ca: 'certs/none.pem', header: 1, mod: 'a' } },
    { ...pair, clientAuth: { ca, mode: 'ask' } },
  ].map((tls, at) => ({ port: at + 1, tls }))
  const cwd = folder(t, { target: 'http://a', listen })
  const { code, stderr } = await run(t, ['check', FILE], cwd)
  assert.equal(code, 2)
  for (const line of [
    /listen\[0\]\.tls\.certificates is an empty list\n/,
    /listen\[1\]\.tls\.certificates is .*\n/,
    /listen\[2\]\.tls\.certificates\[1\] has neither cert nor key\n/,
    /listen\[2\]\.tls\.certificates\[2\] is 5\n/,
    /listen\[3\]\.tls\.certificates is set beside cert or key\n/,
    /listen\[3\]\.tls\.certificates\[0\]\.name is unknown; did you mean names\?/,
    /listen\[4\]\.tls\.certificates\[0\]\.names is "localhost"\n/,
    /listen\[4\]\.tls\.certificates\[1\]\.names has "a\.test", which the certificate is not for\n/,
    /listen\[5\]\.tls\.minVersion is "TLSv1"\n/,
    /listen\[5\]\.tls\.reload is true\n/,
    /listen\[5\]\.tls\.ticketRotationMs is 5\n/,
    /listen\[6\]\.tls\.clientAuth is true\n/,
    /listen\[7\]\.tls\.clientAuth\.ca names a file that does not exist: /,
    /listen\[7\]\.tls\.clientAuth\.mod is unknown; did you mean mode\?/,
    /listen\[7\]\.tls\.clientAuth\.mode is missing\n/,
    /listen\[7\]\.tls\.clientAuth\.header is 1\n/,
    /listen\[8\]\.tls\.clientAuth\.mode is "ask"\n/,
  ]) {
    assert.match(stderr, line)
  }
})
