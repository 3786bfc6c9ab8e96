import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { rename, writeFile } from 'node:fs/promises'
import http2 from 'node:http2'
import { join } from 'node:path'
import { test } from 'node:test'
import { type ClientAuth, createProxy, type ListenCertificate, requestHook, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { directory } from '../cli/command.ts'
import { certificate, key } from '../support/certificates.ts'
import { client, clientCa, oneTest, otherClient, otherClientCa } from '../support/named-certificates.ts'
import { visit } from '../support/tls-clients.ts'
import { without } from '../threads/threaded.ts'

const HERE = { port: 0, host: '127.0.0.1' } as const
const OWN = { cert: certificate, key }
const LEAF = new X509Certificate(client.cert)
const INTERMEDIATE = new X509Certificate(client.cert.slice(client.cert.indexOf('-----BEGIN', 10)))
const FORGED = ['Client-Cert', 'client-cert-chain', 'Client_Cert', 'CLIENT-CERT']
  .map((name) => `${name}: :Zm9yZ2Vk:\r\n`)
  .join('')
/** node 24 does not know the issuers that a client has sent. */
const KNOWS_ISSUERS = !process.version.startsWith('v24.')
const EXPECTED = {
  'client-cert': `:${LEAF.raw.toString('base64')}:`,
  ...(KNOWS_ISSUERS && { 'client-cert-chain': `:${INTERMEDIATE.raw.toString('base64')}:` }),
}

/** A backend that says what it was told about the client's certificate, and a proxy before it. */
async function secure(
  clientAuth: ClientAuth | undefined,
  certificates: readonly ListenCertificate[] = [OWN, oneTest],
  threads = 0,
) {
  const backend = await mockBackend((request, reply) => {
    const told = request.headers.flatMap((name, at) => {
      return at % 2 === 0 && /^client.cert/i.test(name) ? [[name.toLowerCase(), request.headers[at + 1]]] : []
    })
    reply.send({ body: JSON.stringify(Object.fromEntries(told)) })
  })
  const executor = threads === 0 ? {} : { executor: workerThreads({ threads }) }
  const proxy = createProxy({ target: backend.url, trustedProxies: ['loopback'], ...executor })
  const tls = { certificates, clientAuth, reload: false } as const
  const { port } = await proxy.listen({ ...HERE, tls, protocols: ['h2', 'http/1.1'] })
  return {
    proxy,
    port,
    async [Symbol.asyncDispose]() {
      await proxy.close()
      await backend.close()
    },
  }
}

function bodyOf(text: string): unknown {
  return JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4).replace(/^[0-9a-f]+\r\n|\r\n0\r\n\r\n$/g, ''))
}

/** By HTTP/1.1 on raw sockets, by HTTP/1.0, which the node:http server behind takes. */
const REQUESTS = {
  'the socket front': `GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n${FORGED}\r\n`,
  'the node front': `GET / HTTP/1.0\r\nHost: one.test\r\n${FORGED}\r\n`,
}

async function byHttp2(port: number, own: object, authority = 'one.test'): Promise<{ status: number; body: string }> {
  const session = http2.connect(`https://127.0.0.1:${port}`, {
    servername: 'one.test',
    rejectUnauthorized: false,
    ...own,
  })
  const forged = { 'client-cert': ':Zm9yZ2Vk:', 'client-cert-chain': ':Zm9yZ2Vk:', client_cert: ':Zm9yZ2Vk:' }
  const request = session.request({ ':path': '/', ':authority': authority, ...forged })
  let status = 0
  let body = ''
  request.on('response', (head) => {
    status = Number(head[':status'])
  })
  try {
    for await (const chunk of request.setEncoding('utf8')) body += chunk
  } finally {
    session.close()
  }
  return { status, body }
}

for (const [front, request] of Object.entries(REQUESTS)) {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`${front}, ${version}: backends get the client's certificate, and never what the client says`, async () => {
      await using run = await secure({ ca: clientCa, mode: 'request' })
      const options = { servername: 'one.test', minVersion: version, maxVersion: version }
      const first = await visit(run.port, { ...options, ...client }, request)
      assert.deepEqual(bodyOf(first.text), EXPECTED)
      const again = await visit(run.port, { ...options, ...client, session: first.session }, request)
      assert.equal(again.isResumed, true)
      assert.equal((bodyOf(again.text) as typeof EXPECTED)['client-cert'], EXPECTED['client-cert'])
      assert.deepEqual(bodyOf((await visit(run.port, options, request)).text), {})
      assert.deepEqual(bodyOf((await visit(run.port, { ...options, ...otherClient }, request)).text), {})
    })
  }

  test(`${front}: without clientAuth, or with header: false, nothing passes as a certificate`, async () => {
    await using plain = await secure(undefined)
    assert.deepEqual(bodyOf((await visit(plain.port, client, request)).text), {})
    await using quiet = await secure({ ca: clientCa, mode: 'request', header: false })
    assert.deepEqual(bodyOf((await visit(quiet.port, { servername: 'one.test', ...client }, request)).text), {})
  })
}

test('HTTP/2: backends get the certificate, and never what the client says', async () => {
  await using run = await secure({ ca: clientCa, mode: 'request' })
  assert.deepEqual(JSON.parse((await byHttp2(run.port, client)).body), EXPECTED)
  assert.deepEqual(JSON.parse((await byHttp2(run.port, {})).body), {})
})

test('require: a client without a valid certificate has no connection', async () => {
  await using run = await secure({ ca: clientCa, mode: 'require' })
  for (const own of [{}, otherClient]) {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      // In TLS 1.3 a client may see the end of the connection before the reason.
      const visited = visit(run.port, { servername: 'one.test', maxVersion, ...own })
      assert.equal(
        await visited.then(
          ({ text }) => text,
          () => '',
        ),
        '',
      )
    }
  }
  assert.deepEqual(bodyOf((await visit(run.port, { servername: 'one.test', ...client })).text), EXPECTED)
})

test('hooks see the certificate', async () => {
  await using backend = await mockBackend({ body: 'hello' })
  const seen: unknown[] = []
  const interceptors = [
    requestHook((_request, { clientCertificate }) => {
      seen.push(clientCertificate?.subject)
      return clientCertificate === null ? new Response(null, { status: 403 }) : undefined
    }),
  ]
  await using proxy = createProxy({ target: backend.url, routes: [{ interceptors }] })
  const clientAuth = { ca: clientCa, mode: 'request' } as const
  const { port } = await proxy.listen({ ...HERE, tls: { certificates: [oneTest], clientAuth } })
  assert.match((await visit(port, client)).text, /^HTTP\/1\.1 200 /)
  assert.match((await visit(port, otherClient)).text, /^HTTP\/1\.1 403 /)
  assert.deepEqual(seen, ['CN=client of the test', undefined])
})

test('threads: events have the certificate, and backends get it', { skip: await without('kernel') }, async () => {
  await using run = await secure({ ca: clientCa, mode: 'require' }, [oneTest], 2)
  const subject = new Promise((resolve) => {
    run.proxy.on('request', ({ clientCertificate }) => resolve(clientCertificate?.subject))
  })
  // The threads hear of the listener before the change is made.
  await run.proxy.replaceCertificate(OWN)
  assert.deepEqual(bodyOf((await visit(run.port, { servername: 'one.test', ...client })).text), EXPECTED)
  assert.equal(await subject, 'CN=client of the test')
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version}: a host that the certificate of the connection is not for gets 421`, async () => {
    await using run = await secure({ ca: clientCa, mode: 'request' })
    const options = { servername: 'one.test', minVersion: version, maxVersion: version, ...client }
    const status = async (host: string, own: object = {}, target = '/') => {
      const request = `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
      return Number((await visit(run.port, { ...options, ...own }, request)).text.slice(9, 12))
    }
    assert.equal(await status('one.test'), 200)
    assert.equal(await status('also.one.test:443'), 200)
    assert.equal(await status('localhost'), 421)
    assert.equal(await status('127.0.0.1'), 421)
    assert.equal(await status('localhost', { servername: 'localhost' }), 200)
    assert.equal(await status('127.0.0.1', { servername: '' }), 200)
    // The host of an absolute target counts.
    assert.equal(await status('one.test', {}, 'http://localhost/'), 421)
    assert.equal(await status('localhost', {}, 'http://one.test/'), 200)
    const { session } = await visit(run.port, options)
    const two = 'GET / HTTP/1.1\r\nHost: one.test\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
    const { text, isResumed } = await visit(run.port, { ...options, session }, two)
    assert.equal(isResumed, true)
    assert.deepEqual(
      Array.from(text.matchAll(/HTTP\/1\.1 (\d+)/g), ([, code]) => code),
      ['200', '421'],
    )
  })
}

test('without clientAuth every host is served, and in HTTP/2 too; with it HTTP/2 gets 421', async () => {
  await using plain = await secure(undefined)
  assert.equal((await byHttp2(plain.port, {}, 'localhost')).status, 200)
  await using run = await secure({ ca: clientCa, mode: 'request' })
  assert.equal((await byHttp2(run.port, {}, 'one.test')).status, 200)
  assert.equal((await byHttp2(run.port, {}, 'localhost')).status, 421)
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  for (const threads of [0, 2]) {
    const skip = threads > 0 && (await without('kernel'))
    test(`${version}: a session begun under other authorities is not resumed (threads: ${threads})`, {
      skip,
    }, async (t) => {
      const ca = join(directory(t), 'ca.pem')
      await writeFile(ca, clientCa)
      await using run = await secure({ ca, mode: 'request' }, [OWN, oneTest], threads)
      const options = { servername: 'one.test', minVersion: version, maxVersion: version, ...client }
      const { session } = await visit(run.port, options)
      assert.equal((await visit(run.port, { ...options, session })).isResumed, true)
      await writeFile(`${ca}.new`, otherClientCa)
      await rename(`${ca}.new`, ca)
      await run.proxy.reloadCertificates()
      const later = await visit(run.port, { ...options, session })
      assert.equal(later.isResumed, false)
      assert.deepEqual(bodyOf(later.text), {})
      const other = await visit(run.port, { ...options, ...otherClient })
      assert.match(String((bodyOf(other.text) as typeof EXPECTED)['client-cert']), /^:MII/)
    })
  }
}
