import assert from 'node:assert/strict'
import http from 'node:http'
import https from 'node:https'
import { test } from 'node:test'
import type tls from 'node:tls'
import type { BackendTls } from '../../src/index.ts'
import { cutMidBody, type MockBackend, type MockScript, mockBackend, recordingLogger } from '../../src/testing/index.ts'
import { MIB, randomBytes, sha256 } from '../support/bytes.ts'
import { certificate, key } from '../support/certificates.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, listening, type RunningProxy, rounds, runProxy } from '../support/running-proxy.ts'

function secure(script?: MockScript, options: tls.TlsOptions = {}): Promise<MockBackend> {
  return mockBackend(script, { tls: { cert: certificate, key, ...options } })
}

function through(backend: MockBackend, settings: BackendTls, host = '127.0.0.1'): Promise<RunningProxy> {
  return runProxy({ target: { url: `https://${host}:${backend.port}`, tls: settings }, retry: false })
}

test('a certificate of an unknown authority is 502 ERR_PROXY_TLS, and no byte of the request is sent', async () => {
  await using backend = await secure()
  await using front = await through(backend, {})
  const response = await fetch(front.url)
  assert.equal(response.status, 502)
  assert.equal(await response.text(), '502 Bad Gateway (ERR_PROXY_TLS)\n')
  assert.equal(front.errors[0]?.phase, 'connect')
  assert.equal(front.errors[0]?.side, 'backend')
  assert.equal(backend.requests.length, 0)
})

test('with tls.ca the backend is believed, and its connection is kept', async () => {
  await using backend = await secure()
  await using front = await through(backend, { ca: certificate })
  for (let i = 0; i < 3; i++) assert.equal(await (await fetch(front.url)).text(), 'GET /')
  assert.equal(backend.connections, 1)
})

test('a name that the certificate does not have is 502 ERR_PROXY_TLS; tls.servername says which one to ask for', async () => {
  const asked: string[] = []
  await using backend = await secure(undefined, {
    SNICallback(name, done) {
      asked.push(name)
      done(null)
    },
  })
  await using wrong = await through(backend, { ca: certificate, servername: 'other.test' })
  assert.equal((await fetch(wrong.url)).status, 502)
  assert.equal((await wrong.nextRecord()).errorCode, 'ERR_PROXY_TLS')
  await using right = await through(backend, { ca: certificate, servername: 'backend.test' })
  assert.equal((await fetch(right.url)).status, 200)
  assert.deepEqual(asked, ['other.test', 'backend.test'])
})

test('the name of the URL is asked for by default', async () => {
  const asked: string[] = []
  await using backend = await secure(undefined, {
    SNICallback(name, done) {
      asked.push(name)
      done(null)
    },
  })
  await using front = await through(backend, { ca: certificate }, 'localhost')
  assert.equal((await fetch(front.url)).status, 200)
  assert.deepEqual(asked, ['localhost'])
})

test('rejectUnauthorized: false takes any certificate', async () => {
  await using backend = await secure()
  await using front = await through(backend, { rejectUnauthorized: false })
  assert.equal((await fetch(front.url)).status, 200)
})

test('a client certificate is shown to a backend that asks for one', async () => {
  await using backend = await secure(undefined, { requestCert: true, rejectUnauthorized: true, ca: certificate })
  await using without = await through(backend, { ca: certificate })
  assert.equal((await fetch(without.url)).status, 502)
  await using front = await through(backend, { ca: certificate, cert: certificate, key })
  assert.equal((await fetch(front.url)).status, 200)
})

test('a backend that does not speak TLS is 502 ERR_PROXY_TLS', async () => {
  const plain = http.createServer()
  const port = await listening(plain)
  const logger = recordingLogger()
  await using front = await runProxy({ target: `https://127.0.0.1:${port}`, retry: false, logger })
  assert.equal((await fetch(front.url)).status, 502)
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_TLS')
  const [message] = logger.messages('warn')
  assert.match(
    String(message),
    /^cannot connect to backend https:\S+: its response is not TLS; is it an http:\/\/ backend\? \(ERR_SSL_WRONG_VERSION_NUMBER\)$/,
  )
  plain.close()
})

test('a backend that is not there is ERR_PROXY_CONNECT, not ERR_PROXY_TLS', async () => {
  const backend = await secure()
  await backend.close()
  await using front = await through(backend, { ca: certificate })
  assert.equal((await fetch(front.url)).status, 502)
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CONNECT')
})

test('10 MiB go both ways through TLS byte by byte', async () => {
  const body = randomBytes(10 * MIB)
  await using backend = await secure(async (request, reply) => {
    const received = await request.body()
    reply.head()
    for (let i = 0; i < received.length; i += 77_777) {
      if (!reply.chunk(received.subarray(i, i + 77_777))) await reply.drained()
    }
    reply.end()
  })
  await using front = await through(backend, { ca: certificate })
  const response = await fetch(front.url, { method: 'POST', body })
  assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), sha256(body))
})

test('a client that does not read stops a TLS backend too', async () => {
  const total = 32 * MIB
  const piece = Buffer.alloc(MIB)
  const stuck = gate<number>()
  await using backend = await secure(async (_request, reply) => {
    reply.head()
    for (let sent = 0; sent < total; sent += MIB) {
      if (reply.chunk(piece)) continue
      const drained = reply.drained()
      if (await Promise.race([drained.then(() => false), rounds(300).then(() => true)])) stuck.open(sent)
      await drained
    }
    reply.end()
  })
  await using front = await through(backend, { ca: certificate })
  const client = rawClient(front.port)
  client.socket.pause()
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.ok((await stuck.promise) < 24 * MIB)
  client.socket.removeAllListeners('data').resume()
  await client.ended
  const record = await front.nextRecord()
  assert.equal(record.outcome, 'answered')
  assert.equal(record.responseBytes, total)
})

test('a TLS backend that goes in mid-body is seen as a cut', async () => {
  await using backend = await secure(cutMidBody)
  await using front = await through(backend, { ca: certificate })
  await assert.rejects(async () => (await fetch(front.url)).text())
  assert.equal((await front.nextRecord()).outcome, 'truncated')
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version}: new connections to a backend resume its session, and only with the same TLS settings`, async (t) => {
    const resumed: boolean[] = []
    const own = { cert: certificate, key, minVersion: version, maxVersion: version }
    const server = https.createServer(own, (_, res) => res.writeHead(200, { connection: 'close' }).end('hello'))
    t.after(() => server.close())
    server.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()))
    const url = `https://127.0.0.1:${await listening(server)}`
    const tls = { ca: certificate, servername: 'localhost' }
    await using front = await runProxy({ target: { url, tls }, retry: false })
    for (let i = 0; i < 4; i++) assert.equal(await (await fetch(front.url)).text(), 'hello')
    assert.deepEqual(resumed, [false, true, true, true])
    // A session does not vouch for a name that was not verified.
    await front.proxy.setBackends([{ url, tls: { ...tls, servername: 'other.test' } }])
    assert.equal((await fetch(front.url)).status, 502)
    // Nor does the one of a connection whose certificate was refused.
    assert.equal((await fetch(front.url)).status, 502)
    assert.ok(!resumed.slice(4).includes(true))
  })
}

test('a session is dropped if a connection fails with it', async (t) => {
  const resumed: boolean[] = []
  let isBroken = false
  const server = https.createServer({ cert: certificate, key }, (_, res) => {
    res.writeHead(200, { connection: 'close' }).end('hello')
  })
  t.after(() => server.close())
  server.on('connection', (socket) => isBroken && socket.destroy())
  server.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()))
  const url = `https://127.0.0.1:${await listening(server)}`
  await using front = await runProxy({ target: { url, tls: { ca: certificate } }, retry: false })
  const ask = async () => (await fetch(front.url)).status
  assert.deepEqual([await ask(), await ask()], [200, 200])
  isBroken = true
  assert.equal(await ask(), 502)
  isBroken = false
  assert.deepEqual([await ask(), await ask()], [200, 200])
  assert.deepEqual(resumed, [false, true, false, true])
})
