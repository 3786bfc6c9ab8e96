import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { retireServer, stopListening, watchResponses } from '../../src/fronts/retire.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { listening } from '../support/running-proxy.ts'

const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

test('connections that wait to be accepted are, before the server stops listening', async () => {
  const server = http.createServer((_req, res) => res.end('ok'))
  const port = await listening(server)
  // The kernel has taken them all when this turn ends; the server has accepted none.
  const clients = Array.from({ length: 20 }, () => rawClient(port))
  await stopListening(server)
  assert.equal(server.listening, false)
  for (const client of clients) client.write(REQUEST)
  for (const client of clients) await client.until('ok')
  for (const client of clients) client.socket.destroy()
})

test('an idle connection has time for a request that is on its way; its answer says that it was the last', async () => {
  const server = http.createServer((_req, res) => res.end('ok'))
  let open = 0
  server.on('connection', (socket) => {
    open++
    socket.once('close', () => open--)
  })
  const port = await listening(server)
  const client = rawClient(port)
  client.write(REQUEST)
  await client.until('ok')
  assert.doesNotMatch(client.text, /connection: close/i)
  await stopListening(server)
  const retired = retireServer(server, 10_000, () => open, [])
  client.write(REQUEST)
  assert.match(await client.until('close'), /connection: close/i)
  assert.equal(await client.ended, 'end')
  await retired
})

test('a connection that is stuck is destroyed after drainTimeoutMs', async () => {
  const server = http.createServer(() => {})
  let open = 0
  server.on('connection', (socket) => {
    open++
    socket.once('close', () => open--)
  })
  const port = await listening(server)
  const stuck = rawClient(port)
  stuck.write(REQUEST)
  await new Promise((resolve) => server.once('request', resolve))
  await stopListening(server)
  await retireServer(server, 30, () => open, [])
  await stuck.ended
  assert.equal(stuck.text, '')
})

test('answers that are under way say that they were the last; where they have begun, the client gets time for another', async (t) => {
  const waiting = new Map<string, http.ServerResponse>()
  const server = http.createServer((req, res) => {
    if (req.url === '/begun') res.write('begun')
    waiting.set(req.url ?? '', res)
  })
  server.keepAliveTimeout = 0
  const answers = watchResponses(server)
  let open = 0
  server.on('connection', (socket) => {
    open++
    socket.once('close', () => open--)
  })
  const port = await listening(server)
  const [asked, begun, another] = ['/asked', '/begun', '/begun'].map((path) => {
    const client = rawClient(port)
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
    return client
  }) as [RawClient, RawClient, RawClient]
  await Promise.all([begun.until('begun'), another.until('begun')])
  while (waiting.size < 2) await new Promise((resolve) => setImmediate(resolve))
  const all = [...answers.values()]
  assert.equal(all.length, 3)
  await stopListening(server)
  let now = 0
  const looks = t.mock.method(performance, 'now', () => now).mock
  /** Until it has been looked at what the time is. */
  const passTo = async (ms: number): Promise<void> => {
    now = ms
    const before = looks.callCount()
    while (looks.callCount() < before + 3) await new Promise((resolve) => setImmediate(resolve))
  }
  // Without an end: who is forgotten would stay for ever.
  const retired = retireServer(server, Number.POSITIVE_INFINITY, () => open, answers.values())
  await passTo(490)
  for (const answer of all) answer.end('the end')
  assert.match(await asked.until('the end'), /connection: close/i)
  for (const client of [begun, another]) assert.doesNotMatch(await client.until('the end'), /connection: close/i)
  await passTo(900)
  // One asks for more, one does not.
  another.write('GET /more HTTP/1.1\r\nHost: a\r\n\r\n')
  while (!waiting.has('/more')) await new Promise((resolve) => setImmediate(resolve))
  waiting.get('/more')?.end('more')
  assert.match(await another.until('more'), /connection: close/i)
  for (const client of [asked, another]) assert.equal(await client.ended, 'end')
  now = 1500
  assert.equal(await begun.ended, 'end')
  await retired
  assert.equal(answers.size, 0)
})
