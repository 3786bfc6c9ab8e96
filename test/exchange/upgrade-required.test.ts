import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { converse, rawClient } from '../support/raw-client.ts'
import { FRONTS, runInServer } from '../support/running-proxy.ts'
import { type RawBackend, rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

const UPGRADE = 'Upgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade, X-Mine\r\nX-Mine: 1\r\n'

/** Answers each request the same way and keeps the connection. */
function answering(status: string): Promise<RawBackend> {
  return rawBackend(({ socket }) => {
    const answer = `HTTP/1.1 ${status}\r\n${UPGRADE}Content-Length: 2\r\n\r\nno`
    socket.write(answer)
    socket.on('data', () => socket.write(answer))
  })
}

/** All members of a header, in lower case. */
function members(text: string, name: string): string[] {
  const lines = Array.from(text.matchAll(new RegExp(`^${name}: (.*)\r$`, 'gim')), ([, value]) => value as string)
  return lines.flatMap((line) => line.split(',')).map((member) => member.trim().toLowerCase())
}

for (const { name, run } of FRONTS) {
  test(`${name}: a 426 says what to upgrade to, and the connection stays`, async () => {
    await using backend = await answering('426 Upgrade Required')
    await using front = await run({ target: backend.url, retry: false })
    const client = rawClient(front.port)
    for (const path of ['/1', '/2']) {
      client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
      await client.until(path === '/1' ? '\r\n\r\nno' : 'noHTTP/1.1 426 ')
    }
    client.write('GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    await client.ended
    const answers = client.text.split(/(?=HTTP\/1\.1 )/)
    assert.equal(answers.length, 3)
    for (const [i, answer] of answers.entries()) {
      assert.match(answer, /^HTTP\/1\.1 426 Upgrade Required\r\n/)
      assert.deepEqual(members(answer, 'upgrade'), ['tls/1.0', 'http/1.1'])
      assert.deepEqual(members(answer, 'connection').sort(), i < 2 ? ['keep-alive', 'upgrade'] : ['close', 'upgrade'])
      assert.equal(members(answer, 'x-mine').length, 0)
    }
  })

  test(`${name}: a 426 that refuses an upgrade says so too, and ends the connection`, async () => {
    await using backend = await answering('426 Upgrade Required')
    await using front = await run({ target: backend.url })
    const { text } = await converse(front.port, upgradeRequest())
    assert.match(text, /^HTTP\/1\.1 426 [\s\S]*\r\n\r\nno$/)
    assert.deepEqual(members(text, 'upgrade'), ['tls/1.0', 'http/1.1'])
    assert.deepEqual(members(text, 'connection').sort(), ['close', 'upgrade'])
  })

  test(`${name}: a client of HTTP/1.0 gets the 426 and the end of the connection`, async () => {
    await using backend = await answering('426 Upgrade Required')
    await using front = await run({ target: backend.url, retry: false })
    const { text } = await converse(front.port, 'GET / HTTP/1.0\r\nHost: x\r\n\r\n')
    assert.deepEqual(members(text, 'connection').sort(), ['close', 'upgrade'])
  })

  test(`${name}: Upgrade does not go through in another response`, async () => {
    for (const status of ['200 OK', '400 Bad Request', '503 Service Unavailable']) {
      await using backend = await answering(status)
      await using front = await run({ target: backend.url, retry: false })
      for (const request of ['GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', upgradeRequest()]) {
        const { text } = await converse(front.port, request)
        assert.ok(text.startsWith(`HTTP/1.1 ${status}\r\n`), text)
        assert.deepEqual(members(text, 'upgrade'), [])
        assert.deepEqual(members(text, 'connection'), ['close'])
      }
    }
  })
}

test('a 426 passes through an application that wraps writeHead', async () => {
  await using backend = await answering('426 Upgrade Required')
  await using front = await runInServer({ target: backend.url, retry: false }, (proxy) =>
    http.createServer((req, res) => {
      const { writeHead } = res
      res.writeHead = ((...args: Parameters<typeof writeHead>) => writeHead.apply(res, args)) as typeof writeHead
      proxy.web(req, res)
    }),
  )
  const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  assert.deepEqual(members(text, 'upgrade'), ['tls/1.0', 'http/1.1'])
  assert.deepEqual(members(text, 'connection').sort(), ['close', 'upgrade'])
})
