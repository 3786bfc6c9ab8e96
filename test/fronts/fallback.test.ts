import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { mockBackend } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { runInServer } from '../support/running-proxy.ts'

for (const [when, later] of [
  ['at once', (call: () => void) => call()],
  ['later', (call: () => void) => void setTimeout(call, 20)],
] as const) {
  test(`onError may give a request to another group, with its body, where no backend has seen it (${when})`, async () => {
    await using backend = await mockBackend(async (request, reply) => {
      reply.send({ body: `${request.method} with ${await request.body()}.` })
    })
    await using gone = await mockBackend()
    await gone[Symbol.asyncDispose]()
    const groups = { main: { backends: [gone.url], retry: false as const }, other: { backends: [backend.url] } }
    await using front = await runInServer({ groups, backends: [backend.url] }, (proxy) =>
      http.createServer((req, res) => {
        const onError = (): void => later(() => proxy.web(req, res, { group: 'other' }))
        proxy.web(req, res, { group: 'main', onError })
      }),
    )
    const client = rawClient(front.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello')
    assert.match(await client.until('.'), /^HTTP\/1\.1 200 OK\r\n/)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('GET with .')
    assert.match(client.text, /POST with hello\./)
    client.socket.destroy()
  })
}
