import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { createProxy, workerThreads } from '../../src/index.ts'
import { certificate, expiredCertificate, key, renewedKey } from '../support/certificates.ts'
import { without } from '../threads/threaded.ts'

const TARGET = { target: 'http://127.0.0.1:1', drainTimeoutMs: 50 }
const HERE = { port: 0, host: '127.0.0.1' } as const
const skipThreads = await without('kernel')

/** What the kernel lets a backlog be. */
function somaxconn(): number {
  try {
    return Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))
  } catch {
    return 0
  }
}

/** Asks the kernel for the backlogs of the sockets that listen on a port, with ss(8). */
function backlogs(port: number): number[] {
  const rows = execFileSync('ss', ['-H', '-ltn', `sport = :${port}`], { encoding: 'utf8' })
    .trim()
    .split('\n')
  return rows.map((row) => Number(row.trim().split(/\s+/)[2]))
}

function withoutSs(): string | false {
  try {
    execFileSync('ss', ['-V'])
    return false
  } catch {
    return 'there is no ss(8)'
  }
}
const skipSs = withoutSs()

test('600 clients at once are all connected while the event loop is busy', {
  skip: somaxconn() < 1024 && 'the kernel allows no longer backlog',
}, async () => {
  await using proxy = createProxy(TARGET)
  const { port } = await proxy.listen(HERE)
  const connected = new Int32Array(new SharedArrayBuffer(4))
  const source = `
    const net = require('node:net')
    const { workerData: { port, connected } } = require('node:worker_threads')
    for (let i = 0; i < 600; i++) {
      net.connect(port, '127.0.0.1', () => {
        Atomics.add(connected, 0, 1)
        Atomics.notify(connected, 0)
      }).on('error', () => {})
    }`
  const worker = new Worker(source, { eval: true, workerData: { port, connected } })
  // This thread accepts none of them meanwhile. Past the backlog a client would wait for that, however long.
  for (let count = 0; count < 600; count = Atomics.load(connected, 0)) {
    if (Atomics.wait(connected, 0, count, 10_000) === 'timed-out') break
  }
  const count = Atomics.load(connected, 0)
  await worker.terminate()
  assert.equal(count, 600)
})

for (const [name, options, expected] of [
  ['by default 4096', {}, 4096],
  ['as listen({ backlog }) says', { backlog: 17 }, 17],
] as const) {
  test(`the backlog is ${name}`, { skip: skipSs }, async () => {
    await using proxy = createProxy(TARGET)
    const { port } = await proxy.listen({ ...HERE, ...options })
    assert.deepEqual(backlogs(port), [Math.min(expected, somaxconn())])
  })

  test(`the backlog of each thread is ${name}`, { skip: skipSs || skipThreads }, async () => {
    await using proxy = createProxy({ ...TARGET, executor: workerThreads({ threads: 2 }) })
    const { port } = await proxy.listen({ ...HERE, ...options })
    assert.deepEqual(backlogs(port), Array(2).fill(Math.min(expected, somaxconn())))
  })
}

test('a port may be given by its digits, as in an environment variable', async () => {
  await using proxy = createProxy(TARGET)
  // The port that the system has for us, so that no other program has it.
  const { port } = await proxy.listen(HERE)
  await proxy.close()
  for (const where of [`${port}`, { port: `${port}`, host: '127.0.0.1', backlog: undefined }]) {
    await using next = createProxy(TARGET)
    assert.equal((await next.listen(where)).port, port)
  }
})

test('what is no place to listen is refused by name, and not taken for any free port', async () => {
  await using proxy = createProxy(TARGET)
  const ports = 'allowed: a whole number from 0 \\(any free port\\) to 65535$'
  const wrong: [where: unknown, message: string][] = [
    ['localhost:80', "^listen: it is 'localhost:80'; allowed: a port, such as 8080, or an object of port, host, "],
    ['', "^listen: it is ''; allowed: a port"],
    ['65536', "^listen: it is '65536'; allowed: a port"],
    [' 80', "^listen: it is ' 80'; allowed: a port"],
    [-1, '^listen: it is -1; allowed: a port'],
    [80.5, '^listen: it is 80.5; allowed: a port'],
    [Number.NaN, '^listen: it is NaN; allowed: a port'],
    [undefined, '^listen: it is undefined; allowed: '],
    [null, '^listen: it is null; allowed: '],
    [true, '^listen: it is true; allowed: '],
    [[8080], '^listen: it is \\[ 8080 \\]; allowed: '],
    [{}, '^listen: port is missing; give a whole number from 0 .*, or a path$'],
    [{ port: undefined }, '^listen: port is missing; give '],
    [{ host: '127.0.0.1' }, '^listen: port is missing; give '],
    [
      { prot: 8080 },
      '^listen: prot is unknown; did you mean port\\?; allowed: port, host, path, backlog, protocols, proxyProtocol, tls, fallback$',
    ],
    [{ port: 65_536 }, `^listen: port is 65536; ${ports}`],
    [{ port: '80 ' }, `^listen: port is '80 '; ${ports}`],
    [{ port: null }, `^listen: port is null; ${ports}`],
    [{ port: 0, host: '' }, "^listen: host is ''; allowed: a name or an address, such as '127.0.0.1'$"],
    [{ port: 0, host: 1 }, '^listen: host is 1; allowed: a name or an address'],
    [{ path: '' }, "^listen: path is ''; allowed: the path of a unix socket$"],
    [{ path: '/tmp/x.sock', port: 0 }, '^listen: port and path are both given; give one$'],
    [
      { port: 0, tls: true },
      "^listen: tls is true; allowed: { certificates }, or options of node's tls.createServer\\(\\), such as ",
    ],
    [
      { port: 0, tls: { cert: 'cert.pem', key } },
      '^listen: tls: cert is text that is not PEM; if it is the path of a file, give readF',
    ],
    [{ port: 0, tls: { cert: certificate, key: ['key.pem'] } }, '^listen: tls: key is text that is not PEM; if it is'],
    [{ port: 0, tls: { cert: certificate, key: Buffer.from('') } }, '^listen: tls: node cannot use these settings: .'],
    [{ port: 0, tls: {} }, '^listen: tls has no certificate; allowed: { certificates }, or'],
    [{ port: 0, tls: { minVersion: 'TLSv1.3' } }, '^listen: tls has no certificate; allowed: { certificates }, or'],
    [{ port: 0, protocols: [] }, "^listen: protocols is \\[\\]; allowed: a list of 'h2' and 'http/1.1', such as"],
    [{ port: 0, proxyProtocol: true }, '^listen: proxyProtocol is true; allowed: a list of addresses and ranges'],
    [{ port: 0, proxyProtocol: [] }, '^listen: proxyProtocol is \\[\\]; allowed: a list of addresses'],
    [
      { port: 0, proxyProtocol: ['10.0.0.0/33'] },
      "^listen: proxyProtocol is \\[ '10.0.0.0/33' \\]; allowed: a list of addresses",
    ],
    [{ port: 0, protocols: ['h3'] }, "^listen: protocols is \\[ 'h3' \\]; allowed: a list of"],
    [{ port: 0, fallback: {} }, '^listen: fallback is an object; allowed: a node:http server$'],
    [{ port: 0, fallback: () => {} }, '^listen: fallback is .*; allowed: a node:http server$'],
    ...[0, -1, 1.5, Number.NaN, '511'].map((backlog): [unknown, string] => [
      { ...HERE, backlog },
      '^listen: backlog is .*; allowed: a whole number, 1 or more$',
    ]),
  ]
  for (const [where, message] of wrong) {
    await assert.rejects(proxy.listen(where as never), { name: 'TypeError', message: new RegExp(message) })
  }
})

test('a new certificate that cannot be used is refused by name', async () => {
  await using proxy = createProxy(TARGET)
  await assert.rejects(proxy.replaceCertificate({ cert: certificate, key }), /replaceCertificate: no listener has TLS/)
  await proxy.listen({ ...HERE, tls: { cert: certificate, key } })
  for (const [given, message] of [
    [{ cert: 'none.pem', key }, /^replaceCertificate\.cert names a file that does not exist: .*none\.pem$/],
    [{ cert: certificate, key: renewedKey }, /^replaceCertificate\.key is not the private key of the certificate in /],
    [{ cert: expiredCertificate, key }, /^replaceCertificate: the certificate \(CN=heddle-expired\) expired on /],
    [
      { cert: certificate, key, names: ['a.test'] },
      /^replaceCertificate\.names has "a\.test", which the certificate is not/,
    ],
    [{ cert: certificate }, /^replaceCertificate: allowed: \{ cert, key, names\? \}/],
    [undefined, /^replaceCertificate: allowed: \{ cert, key, names\? \}/],
  ] as const) {
    await assert.rejects(proxy.replaceCertificate(given as never), { name: 'TypeError', message })
  }
})

test('TLS with certificates by name is checked, and each fault named', async () => {
  await using proxy = createProxy(TARGET)
  const certificates = [{ cert: certificate, key }]
  const wrong: readonly (readonly [tls: object, message: RegExp])[] = [
    [{ certificates: [] }, /^listen: tls\.certificates is \[\]; allowed: a list of \{ cert, key \}/],
    [
      { certificates: [{ cert: certificate }] },
      /^listen: tls\.certificates is a list; allowed: a list of \{ cert, key \}/,
    ],
    [{ certificates: [{ cert: certificate, key, name: 'a' }] }, /^listen: tls\.certificates is a list; allowed/],
    [{ certificates, clientAuth: { ca: certificate } }, /^listen: tls\.clientAuth is an object; allowed: \{ ca, mode/],
    [
      { certificates, clientAuth: { ca: 'no.pem', mode: 'request' } },
      /^listen: tls\.clientAuth\.ca names a file that does/,
    ],
    [{ certificates, minVersion: 'TLSv1' }, /^listen: tls\.minVersion is 'TLSv1'; allowed: 'TLSv1\.2' or 'TLSv1\.3'$/],
    [{ certificates, reload: true }, /^listen: tls\.reload is true; allowed: 'watch' or false$/],
    [
      { certificates, ticketRotationMs: 10 },
      /^listen: tls\.ticketRotationMs is 10; allowed: a whole number of ms, 1000 to/,
    ],
    [
      { certificates, reloads: false },
      /^listen: tls\.reloads is unknown; did you mean reload\?; beside certificates there are/,
    ],
    [
      { cert: certificate, key, clientAuth: {} },
      /^listen: tls\.clientAuth needs tls\.certificates; allowed: a list of/,
    ],
    [
      { certificates: [{ cert: certificate, key: 'no.pem' }] },
      /^listen: tls\.certificates\[0\]\.key names a file that does not/,
    ],
    [
      { certificates: [...certificates, { cert: certificate, key: renewedKey }] },
      /^listen: tls\.certificates\[1\]\.key is not the private key of the certificate in listen: tls\.certificates\[1\]\.cert$/,
    ],
  ]
  for (const [tls, message] of wrong) {
    await assert.rejects(proxy.listen({ ...HERE, tls: tls as never }), { name: 'TypeError', message })
  }
})
