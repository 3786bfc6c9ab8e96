import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { SignJWT } from 'jose'
import { serveModule } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { askLast } from '../support/raw-client.ts'
import { clientsOfEntries, entryOf, LOOPBACK, without } from './threaded.ts'

const SECRET = 'a secret of at least thirty-two bytes'

const token = await new SignJWT({ sub: 'alice' })
  .setProtectedHeader({ alg: 'HS256' })
  .setIssuer('test')
  .setAudience('test')
  .setExpirationTime('1h')
  .sign(new TextEncoder().encode(SECRET))

for (const { what, path, headers = [], answer } of [
  {
    what: 'requestHook() and bufferedBody() change requests and responses',
    path: '/hook',
    answer: (thread) => `200 a body for thread ${thread} in thread ${thread}`,
  },
  { what: 'requestHook() responds', path: '/hook/refused', answer: (thread) => `403 not by thread ${thread}` },
  { what: 'responseBody() changes bodies', path: '/stream', answer: () => '200 A BODY' },
  { what: 'jwt() refuses', path: '/token', answer: () => '401 ' },
  {
    what: 'jwt() tells the backend who it is',
    path: '/token',
    headers: [`Authorization: Bearer ${token}`, 'X-User: eve'],
    answer: (thread) => `200 a body for alice in thread ${thread}`,
  },
] satisfies { what: string; path: string; headers?: string[]; answer: (thread: number) => string }[]) {
  test(`${what} in each thread of a module`, { skip: await without() }, async () => {
    await using backend = await mockBackend((request, reply) => {
      const user = request.header('x-user')
      const body = gzipSync(`a body${user === undefined ? '' : ` for ${user}`}`)
      reply.send({ headers: { 'Content-Type': 'text/plain', 'Content-Encoding': 'gzip' }, body })
    })
    const entry = entryOf('code-interceptors', [
      ['backend', backend.url],
      ['secret', SECRET],
    ])
    await using running = await serveModule(entry, { threads: 2, listen: LOOPBACK })
    for (const [thread, client] of await clientsOfEntries(running.address.port, 2)) {
      const response = await askLast(client, path, headers)
      const [, status] = /^HTTP\/1\.1 (\d+) /.exec(response) ?? []
      const wanted = answer(thread)
      assert.equal(status, wanted.slice(0, 3), response)
      assert.ok(response.includes(wanted.slice(4)), response)
    }
  })
}
