import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { retireServer, stopListening } from '../../src/fronts/retire.ts'
import { rawClient } from '../support/raw-client.ts'
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
  const retired = retireServer(server, 10_000, () => open)
  client.write(REQUEST)
  assert.match(await client.until('close'), /connection: close/i)
  assert.equal(await client.ended, 'end')
  await retired
})

test('an idle connection on which nothing comes is closed after a while, one that is stuck after drainMs', async () => {
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
  await retireServer(server, 30, () => open)
  await stuck.ended
  assert.equal(stuck.text, '')
})
