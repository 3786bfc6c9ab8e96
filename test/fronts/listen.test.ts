import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import { test } from 'node:test'
import tls from 'node:tls'
import express from 'express'
import { WebSocket, WebSocketServer } from 'ws'
import { createProxy, inline, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'
import { certificate, key, renewedCertificate, renewedKey } from '../support/certificates.ts'
import { converse } from '../support/raw-client.ts'

const LOOPBACK = { port: 0, host: '127.0.0.1' }

for (const [where, executor] of [
  ['in this thread', inline()],
  ['in threads', workerThreads({ threads: 1 })],
] as const) {
  test(`close() while listen() begins ends that, too (${where})`, async () => {
    const logger = recordingLogger()
    const proxy = createProxy({ target: 'http://127.0.0.1:1', executor, logger })
    const listening = proxy.listen(LOOPBACK)
    const refused = assert.rejects(listening, { code: 'ERR_PROXY_CLOSED', message: /before it listened/ })
    await proxy.close()
    await refused
    assert.deepEqual(proxy.stats().threads, [])
    assert.doesNotMatch(logger.messages('info').join(), /listening on/)
  })
}

test('listen({ fallback }) serves what routes match, and the application serves the rest, on one connection too', async () => {
  await using backend = await mockBackend((request, reply) => reply.send({ body: `backend ${request.path}` }))
  await using proxy = createProxy({
    groups: { api: { target: backend.url } },
    routes: [{ path: '/api', group: 'api' }],
  })
  const app = express()
  app.get('/page', (_req, res) => void res.send('page'))
  const { port, url } = await proxy.listen({ ...LOOPBACK, fallback: http.createServer(app) })
  assert.equal(await (await fetch(`${url}/api/1`)).text(), 'backend /api/1')
  assert.equal(await (await fetch(`${url}/page`)).text(), 'page')
  assert.equal((await fetch(`${url}/other`)).status, 404)
  const get = (path: string, close = ''): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${close}\r\n`
  const { text } = await converse(
    port,
    get('/api/1') + get('/page') + get('/api/2') + get('/page', 'Connection: close\r\n'),
  )
  assert.deepEqual(text.match(/backend \/api\/\d|page/g), ['backend /api/1', 'page', 'backend /api/2', 'page'])
  assert.equal((await converse(port, 'GARBAGE\r\n\r\n')).text.slice(0, 12), 'HTTP/1.1 400')
  const expecting =
    'POST /page HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx'
  assert.match((await converse(port, expecting)).text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 404 /)
})

test("with a fallback, upgrades that no route matches are the application's", async () => {
  await using backend = await mockBackend({ body: 'backend' })
  await using proxy = createProxy({
    groups: { api: { target: backend.url } },
    routes: [{ path: '/api', group: 'api' }],
  })
  const fallback = http.createServer()
  const sockets = new WebSocketServer({ server: fallback }).on('connection', (socket) => socket.send('hello'))
  const { port } = await proxy.listen({ ...LOOPBACK, fallback })
  const client = new WebSocket(`ws://127.0.0.1:${port}/live`)
  const message = await new Promise((resolve, reject) => client.on('message', resolve).on('error', reject))
  assert.equal(String(message), 'hello')
  client.terminate()
  sockets.close()
})

test('listen({ tls }) speaks https, and tells backends so', async () => {
  await using backend = await mockBackend((request, reply) =>
    reply.send({ body: String(request.header('x-forwarded-proto')) }),
  )
  await using proxy = createProxy({ target: backend.url })
  const { port, url } = await proxy.listen({ ...LOOPBACK, tls: { cert: certificate, key } })
  assert.equal(url, `https://127.0.0.1:${port}`)
  const body = await new Promise<string>((resolve, reject) => {
    https
      .get({ port, host: '127.0.0.1', ca: certificate, agent: false }, (res) => {
        res.setEncoding('latin1').on('data', resolve).on('error', reject)
      })
      .on('error', reject)
  })
  assert.equal(body, 'https')
})

test('replaceCertificate() replaces the certificate of what listens, for new connections', async () => {
  await using proxy = createProxy({ target: 'http://127.0.0.1:1' })
  const { port } = await proxy.listen({ ...LOOPBACK, tls: { cert: certificate, key } })
  const name = async (): Promise<unknown> => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { CN } = socket.getPeerCertificate().subject
    socket.destroy()
    return CN
  }
  assert.equal(await name(), 'heddle-test')
  await assert.rejects(proxy.replaceCertificate({ cert: 'no certificate', key }))
  assert.equal(await name(), 'heddle-test')
  await proxy.replaceCertificate({ cert: renewedCertificate, key: renewedKey })
  assert.equal(await name(), 'heddle-renewed')
})
