import assert from 'node:assert/strict'
import type http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { mockBackend } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { converse } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, listening } from '../support/running-proxy.ts'

const UNREADABLE = { cert: '-----BEGIN NOTHING', key: '-----BEGIN NOTHING' }

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: a client certificate that cannot be read ends exchanges with a 502, and not the process`, async () => {
    await using backend = await mockBackend(undefined, { tls: { cert: certificate, key } })
    const url = `https://127.0.0.1:${backend.port}`
    await using front = await run({
      target: { url, tls: { ca: certificate } },
      pool: { maxConnections: 2 },
      retry: false,
    })
    assert.equal((await fetch(front.url)).status, 200)
    await front.proxy.setBackends([{ url, tls: UNREADABLE }])
    // A signal that is aborted afterwards rejects what is forgotten.
    const answers = await Promise.all(Array.from({ length: 5 }, () => fetch(front.url, { method: 'POST', body: 'x' })))
    assert.deepEqual(
      await Promise.all(answers.map((answer) => answer.text())),
      Array(5).fill('502 Bad Gateway (ERR_PROXY_TLS)\n'),
    )
    const upgrade = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'
    assert.match((await converse(front.port, upgrade)).text, /^HTTP\/1\.1 502 .*ERR_PROXY_TLS/s)
    const figures = front.proxy.stats().groups[0]?.pool.backends[0]
    assert.deepEqual([figures?.connections, figures?.connecting, figures?.waiting], [0, 0, 0])
    await front.proxy.setBackends([{ url, tls: { ca: certificate } }])
    assert.equal((await fetch(front.url)).status, 200)
  })

  test(`${name}: whoever waits for a connection is told if its own fails, also if others came in another order`, async () => {
    const answered = gate()
    const secure = tls.createServer({ cert: certificate, key }, (socket) => {
      socket
        .on('error', () => {})
        .once('data', () => {
          socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok')
          socket.once('close', answered.open)
        })
    })
    let accepted = 0
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      // The first one is not set up before the other has done its work, and then not at all.
      if (++accepted === 1) void answered.promise.then(() => socket.destroy())
      else secure.emit('connection', socket)
    })
    const port = await listening(server as unknown as http.Server)
    const target = { url: `https://127.0.0.1:${port}`, tls: { ca: certificate } }
    await using front = await run({ target, retry: false })
    const answers = await Promise.all([fetch(front.url), fetch(front.url)])
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 502])
    server.close()
  })
}
