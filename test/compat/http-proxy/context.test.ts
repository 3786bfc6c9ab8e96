import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import type { ServerOptions } from '../../../src/compat/http-proxy/index.ts'
import { deadPort, mockBackend, neverAnswer } from '../../../src/testing/index.ts'
import { webSocketBackend } from '../../support/upgrade-backends.ts'
import { nextEvent, type Served, served } from './serving.ts'

const storage = new AsyncLocalStorage<string>()

/** A server that serves each request in a context with its path. */
async function inContext(
  options: ServerOptions,
): Promise<Served & { readonly seen: [event: string, store: unknown][] }> {
  const front = await served(
    options,
    (proxy, req, res) => storage.run(req.url ?? '', () => proxy.web(req, res)),
    (proxy, req, socket, head) => storage.run(req.url ?? '', () => proxy.ws(req, socket, head)),
  )
  const seen: [string, unknown][] = []
  for (const event of ['start', 'proxyReq', 'proxyRes', 'proxyReqWs', 'end', 'error', 'econnreset', 'open', 'close']) {
    front.proxy.on(event as 'start', () => void seen.push([event, storage.getStore()]))
  }
  return Object.assign(front, { seen })
}

test('listeners run in the async context of their request', async () => {
  await using backend = await mockBackend()
  await using front = await inContext({ target: backend.url })
  for (const path of ['/a', '/b']) {
    const ended = nextEvent(front.proxy, 'end')
    await (await fetch(front.url + path)).text()
    await ended
  }
  const expected = ['/a', '/b'].flatMap((path) =>
    ['start', 'proxyReq', 'proxyRes', 'end'].map((event) => [event, path]),
  )
  assert.deepEqual(front.seen, expected)
})

test('listeners to failures, too', async () => {
  const { url } = await deadPort()
  await using backend = await mockBackend(neverAnswer)
  await using front = await inContext({ target: url })
  front.proxy.on('error', (_error, _req, res) => void ('writeHead' in res && res.writeHead(502).end()))
  await fetch(`${front.url}/dead`)
  front.proxy.options.target = backend.url
  const reset = nextEvent(front.proxy, 'econnreset')
  const client = net.connect(front.port, '127.0.0.1').on('error', () => {})
  client.write('GET /left HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequestHead()
  client.destroy()
  await reset
  assert.deepEqual(
    front.seen.filter(([event]) => event === 'error' || event === 'econnreset'),
    [
      ['error', '/dead'],
      ['econnreset', '/left'],
    ],
  )
})

test('listeners of WebSockets, too', async () => {
  const { url } = await deadPort()
  await using backend = await webSocketBackend()
  await using front = await inContext({ target: backend.url })
  const client = new WebSocket(`${front.wsUrl}/ws`)
  await once(client, 'open')
  const closed = nextEvent(front.proxy, 'close')
  client.close()
  await closed
  front.proxy.options.target = url
  const failed = nextEvent(front.proxy, 'error')
  const headers = { Connection: 'Upgrade', Upgrade: 'websocket' }
  http.get({ port: front.port, host: '127.0.0.1', path: '/dead', headers }).on('error', () => {})
  await failed
  assert.deepEqual(front.seen, [
    ['proxyReqWs', '/ws'],
    ['open', '/ws'],
    ['close', '/ws'],
    ['proxyReqWs', '/dead'],
    ['error', '/dead'],
  ])
})
