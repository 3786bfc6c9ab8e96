import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, serveModule, workerThreads } from '../../src/index.ts'
import { deadPort, type MockBackend, mockBackend } from '../../src/testing/index.ts'
import type { RawClient } from '../support/raw-client.ts'
import { ask, clientsOfEntries, clientsOfThreads, entryOf, LOOPBACK, without } from './threaded.ts'

const skip = await without()

/** Says its own address, sets a cookie, or redirects; as its path says. */
async function talkative(): Promise<MockBackend> {
  const backend = await mockBackend((request, reply) => {
    switch (request.path) {
      case '/own':
        return reply.send({ status: 302, headers: { Location: `${backend.url}/login?a=1` }, body: 'go' })
      case '/path':
        return reply.send({ status: 201, headers: { Location: '/things/1' }, body: 'made' })
      case '/other':
        return reply.send({ status: 302, headers: { Location: 'http://other.test/' }, body: 'go' })
      case '/cookie':
        return reply.send({ headers: { 'Set-Cookie': ['a=1; Domain=x.test; Path=/cart', 'b=2'] }, body: 'set' })
      case '/busy':
        return reply.send({ status: 503, body: 'secret' })
      case '/follow/a':
        return reply.send({ status: 302, headers: { Location: `${backend.url}/follow/b` }, body: 'go' })
      default:
        reply.send({ body: `${request.method} ${request.path}` })
    }
  })
  return backend
}

/** The response to a GET, with its head. */
async function responseTo(client: RawClient, path: string): Promise<string> {
  const from = client.text.length
  await ask(client, path)
  return client.text.slice(from)
}

test('each thread rewrites locations and cookies, follows redirects and makes pages', { skip }, async () => {
  await using one = await talkative()
  await using two = await talkative()
  const dead = await deadPort()
  const entry = entryOf('rewrites', [
    ['backend', one.url],
    ['backend', two.url],
    ['dead', dead.url],
  ])
  await using running = await serveModule(entry, { threads: 2, listen: LOOPBACK })
  const clients = await clientsOfEntries(running.address.port, 2)
  assert.deepEqual([...clients.keys()].sort(), [1, 2])
  for (const client of clients.values()) {
    const answer = (path: string) => responseTo(client, path)
    // Both backends are asked.
    for (let i = 0; i < 2; i++)
      assert.match(await answer('/api/own'), /\r\nLocation: http:\/\/test\/api\/login\?a=1\r\n/)
    assert.match(await answer('/api/path'), /\r\nLocation: \/api\/things\/1\r\n/)
    assert.match(await answer('/api/other'), /\r\nLocation: http:\/\/other\.test\/\r\n/)
    const cookies = await answer('/api/cookie')
    assert.match(cookies, /\r\nSet-Cookie: a=1; Domain=public\.test; Path=\/api\/cart; SameSite=Lax\r\n/)
    assert.match(cookies, /\r\nSet-Cookie: b=2; SameSite=Lax\r\n/)
    assert.match(await answer('/api/busy'), /^HTTP\/1\.1 503 .*\r\n\r\n503 Service Unavailable\n$/s)
    assert.match(await answer('/dead'), /^HTTP\/1\.1 502 .*\r\n\r\n502 Bad Gateway \(ERR_PROXY_CONNECT\)\n$/s)
    // The other backend of the group may carry it on.
    assert.match(await answer('/follow/a'), /\r\n\r\nGET \/follow\/b$/)
    client.socket.destroy()
  }
  assert.ok(one.requests.length > 0 && two.requests.length > 0)
})

test('threads that get the interceptors as data rewrite, follow and make pages on raw sockets', { skip }, async () => {
  await using backend = await talkative()
  const dead = await deadPort()
  await using proxy = createProxy({
    logger: 'silent',
    groups: { app: { target: backend.url }, dead: { target: dead.url, retry: false } },
    routes: [
      {
        path: '/api',
        stripPrefix: '/api',
        group: 'app',
        interceptors: [
          { name: 'error-page', text: 'sorry: {{status}}\n', statuses: [503] },
          { name: 'rewrite-location', prefix: '/api', host: 'www.test' },
          { name: 'rewrite-cookies', domain: { 'x.test': 'public.test' }, path: { '/cart': '/api/cart' } },
        ],
      },
      { path: '/follow', group: 'app', interceptors: [{ name: 'follow-redirects', max: 2 }] },
      { path: '/dead', group: 'dead', interceptors: ['error-page'] },
      { path: '/', group: 'app' },
    ],
    executor: workerThreads({ threads: 2 }),
    drainTimeoutMs: 100,
  })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  for (const client of clients.values()) {
    const answer = (path: string) => responseTo(client, path)
    assert.match(await answer('/api/own'), /\r\nLocation: http:\/\/www\.test\/api\/login\?a=1\r\n/)
    assert.match(await answer('/api/cookie'), /\r\nSet-Cookie: a=1; Domain=public\.test; Path=\/api\/cart\r\n/)
    assert.match(await answer('/api/busy'), /^HTTP\/1\.1 503 .*\r\n\r\nsorry: 503\n$/s)
    assert.match(await answer('/follow/a'), /\r\n\r\nGET \/follow\/b$/)
    assert.match(await answer('/dead'), /^HTTP\/1\.1 502 .*\r\n\r\n502 Bad Gateway \(ERR_PROXY_CONNECT\)\n$/s)
    client.socket.destroy()
  }
})
