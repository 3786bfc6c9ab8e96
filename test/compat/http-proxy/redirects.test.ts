import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type MockBackend, mockBackend } from '../../../src/testing/index.ts'
import { converse, rawClient } from '../../support/raw-client.ts'
import { served } from './serving.ts'

/** `/3` leads to `/2`, and so on to `/0`. */
function countdown(): Promise<MockBackend> {
  return mockBackend((request, reply) => {
    const left = Number(request.path.slice(1))
    if (left === 0) reply.send({ body: 'there' })
    else reply.send({ status: 302, headers: ['Location', `/${left - 1}`] })
  })
}

test('followRedirects: as many as it may; the client gets the next one', async () => {
  await using backend = await countdown()
  await using front = await served({ target: backend.url, followRedirects: true })
  assert.equal(await (await fetch(`${front.url}/21`)).text(), 'there')
  front.proxy.options.followRedirects = 2
  assert.equal(await (await fetch(`${front.url}/2`)).text(), 'there')
  const last = await fetch(`${front.url}/3`, { redirect: 'manual' })
  assert.deepEqual([last.status, last.headers.get('location')], [302, '/0'])
})

test('followRedirects: a relative redirect stays at the target, whichever Host the client sends', async () => {
  await using backend = await countdown()
  await using other = await mockBackend({ body: 'elsewhere' })
  await using front = await served({ target: backend.url, followRedirects: true })
  const { text } = await converse(
    front.port,
    `GET /2 HTTP/1.1\r\nHost: ${new URL(other.url).host}\r\nAuthorization: secret\r\nConnection: close\r\n\r\n`,
  )
  assert.match(text, /there$/)
  assert.equal(other.requests.length, 0)
})

test('followRedirects: the client gets a redirect to another server', async () => {
  await using other = await mockBackend({ body: 'elsewhere' })
  await using backend = await mockBackend({ status: 302, headers: ['Location', `${other.url}/x`] })
  await using front = await served({ target: backend.url, followRedirects: true })
  const response = await fetch(front.url, { redirect: 'manual' })
  assert.equal(response.headers.get('location'), `${other.url}/x`)
  assert.equal(other.requests.length, 0)
})

test('followRedirects: proxyReq is called once, and its headers go along', async () => {
  await using backend = await countdown()
  await using front = await served({ target: backend.url, followRedirects: true })
  let calls = 0
  front.proxy.on('proxyReq', (proxyReq) => void proxyReq.setHeader('X-Call', ++calls))
  assert.equal(await (await fetch(`${front.url}/2`)).text(), 'there')
  assert.deepEqual(
    backend.requests.map((request) => request.header('x-call')),
    ['1', '1', '1'],
  )
})

test('followRedirects: forward gets a body once, however often the target gets it', async () => {
  await using copies = await mockBackend()
  await using backend = await mockBackend(async (request, reply) => {
    if (request.path === '/early') reply.send({ status: 307, headers: ['Location', '/3'] })
    else if (request.path === '/0') reply.send({ body: await request.body() })
    else {
      await request.body()
      reply.send({ status: 307, headers: ['Location', `/${Number(request.path.slice(1)) - 1}`] })
    }
  })
  await using front = await served({ target: backend.url, forward: copies.url, followRedirects: true })
  const copyOf = async (): Promise<string> => (await copies.nextRequest()).bodyText
  const response = await fetch(`${front.url}/2`, { method: 'POST', body: 'whole' })
  assert.deepEqual([await response.text(), await copyOf()], ['whole', 'whole'])

  // A redirect in the middle of the body.
  const client = rawClient(front.port)
  client.write('POST /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 11\r\n\r\nfirst')
  while ((await backend.nextRequestHead()).path !== '/3');
  client.write('second')
  await client.until('firstsecond')
  assert.equal(await copyOf(), 'firstsecond')
})
