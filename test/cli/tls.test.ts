import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { PemFiles } from '../../src/cli/pem-files.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { certificate, expiredCertificate, key, renewedKey } from '../support/certificates.ts'
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
    /"level":"warn".*listen\.tls\.cert: the certificate \(CN=heddle-expired\) expired/,
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
