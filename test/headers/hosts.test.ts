import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { createProxy } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { converse } from '../support/raw-client.ts'
import { FRONTS, type RunningProxy } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

async function ask(port: number, target: string, host: string, more = ''): Promise<string> {
  const { text } = await converse(port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`)
  return text.split(' ')[1] ?? text
}

async function groupOf(front: RunningProxy, target: string, host: string): Promise<string> {
  const status = await ask(front.port, target, host)
  const { group } = await front.nextRecord()
  return status === '200' ? group : status
}

const TO_ADMIN: [target: string, host: string][] = [
  ['/', 'admin.example'],
  ['/', 'ADMIN.Example:8080'],
  ['/', 'admin.example.'],
  ['/', 'admin.example.:80'],
  ['/', 'admin.example:'],
  ['/', 'adm%69n.example'],
  ['/', 'admin%2Eexample'],
  ['http://admin.example/', 'else.example'],
  ['http://ADMIN.example.:1/', 'else.example'],
  ['HTTP://adm%69n.example', 'else.example'],
  ['https://admin.example?x', 'else.example'],
  ['/', '[0:0:0::1]:80'],
]
const REFUSED: [target: string, host: string][] = [
  ['/', 'admin.example, else.example'],
  ['/', 'else.example,admin.example'],
  ['/', 'else.example@admin.example'],
  ['/', 'else.example:80@admin.example'],
  ['/', 'else.example/admin.example'],
  ['/', 'else.example#admin.example'],
  ['/', '[fe80::1%25eth0]'],
  ['/', '[::1]admin.example'],
  ['/', 'admin.example:80:80'],
  ['http://else.example@admin.example/', 'else.example'],
  ['http://admin.example:80:80/', 'else.example'],
  ['http:///admin.example/', 'else.example'],
  ['http://admin.example/', 'else.example, admin.example'],
]

for (const { name, run } of FRONTS) {
  test(`${name}: a host matches its route in any spelling, or is refused`, async () => {
    await using backend = await mockBackend()
    await using front = await run({
      groups: { admin: { target: backend.url }, rest: { target: backend.url } },
      routes: [
        { host: 'admin.example', group: 'admin' },
        { host: '[::1]', group: 'admin' },
        { path: '/', group: 'rest' },
      ],
    })
    for (const [target, host] of TO_ADMIN)
      assert.equal(await groupOf(front, target, host), 'admin', `${target} ${host}`)
    for (const [target, host] of REFUSED) assert.equal(await groupOf(front, target, host), '400', `${target} ${host}`)
    // The host of an absolute target is the one that counts, whatever Host says.
    assert.equal(await groupOf(front, 'http://else.example/', 'admin.example'), 'rest')
  })

  test(`${name}: an upgrade uses the same host`, async () => {
    await using admin = await rawBackend((upgrade) => {
      upgrade.accept()
      upgrade.socket.end()
    })
    await using front = await run({
      groups: { admin: { target: admin.url }, rest: { target: 'http://127.0.0.1:1' } },
      routes: [{ host: 'admin.example', group: 'admin' }, { group: 'rest' }],
    })
    for (const [target, host] of TO_ADMIN.slice(0, -1)) {
      const request = upgradeRequest({ path: target }).replace('example.test', host)
      assert.match((await converse(front.port, request)).text, /^HTTP\/1\.1 101 /, `${target} ${host}`)
    }
    for (const [target, host] of REFUSED) {
      const request = upgradeRequest({ path: target }).replace('example.test', host)
      assert.match((await converse(front.port, request)).text, /^HTTP\/1\.1 400 /, `${target} ${host}`)
    }
  })
}

test('with a fallback both fronts match the same hosts', async () => {
  await using backend = await mockBackend()
  await using proxy = createProxy({ target: backend.url, routes: [{ host: 'admin.example' }], drainTimeoutMs: 100 })
  const fallback = http.createServer((_req, res) => res.writeHead(418).end())
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', fallback })
  // The second line is for the server behind the socket server: the socket server leaves Max-Forwards to it.
  for (const more of ['', 'Max-Forwards: 3\r\n']) {
    for (const [target, host] of TO_ADMIN.slice(0, -1)) {
      assert.equal(await ask(port, target, host, more), '200', `${target} ${host} ${more}`)
    }
    assert.equal(await ask(port, '/', 'else.example', more), '418')
    assert.equal(await ask(port, 'http://else.example/', 'admin.example', more), '418')
  }
})
