import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { handleUpgrades, type Proxy } from '../../src/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, runInServer } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest, webSocketBackend } from '../support/upgrade-backends.ts'

/* socket.io of the application's own, on a server whose other upgrades are proxied. */

const WAYS: readonly [name: string, (server: http.Server, proxy: Proxy) => unknown][] = [
  ['proxy.attach()', (server, proxy) => proxy.attach(server)],
  [
    'handleUpgrades()',
    (server, proxy) => {
      const app = (req: IncomingMessage, res: ServerResponse): void => proxy.web(req, res)
      return handleUpgrades(server, app)
    },
  ],
]

for (const [way, listen] of WAYS) {
  for (const order of ['before', 'after']) {
    test(`${way}: socket.io that was added ${order} a catch-all route keeps its sessions`, async () => {
      await using backend = await webSocketBackend()
      let local: Server | undefined
      await using running = await runInServer({ target: backend.url }, (proxy) => {
        const server = http.createServer(proxy.web)
        if (order === 'after') listen(server, proxy)
        local = new Server(server)
        if (order === 'before') listen(server, proxy)
        return server
      })
      local?.on('connection', (socket) => socket.on('say', (text, reply) => reply(`local ${text}`)))
      const url = `http://127.0.0.1:${running.port}`
      const clients = [io(url, { transports: ['websocket'] }), io(url, { forceNew: true })]
      for (const client of clients) assert.equal(await client.emitWithAck('say', 'hello'), 'local hello')
      const [, second] = clients
      if (second?.io.engine.transport.name === 'polling') await once(second.io.engine as never, 'upgrade')
      assert.equal(backend.connections, 0)
      const proxied = new WebSocket(`ws://127.0.0.1:${running.port}/chat`)
      await once(proxied, 'open')
      proxied.send('hello')
      assert.equal(String(((await once(proxied, 'message')) as unknown[])[0]), 'hello')
      for (const client of clients) client.disconnect()
      proxied.terminate()
      await local?.close()
    })
  }

  test(`${way}: socket.io does not end an upgrade whose backend takes its time`, async () => {
    const ready = gate()
    await using backend = await rawBackend(async (upgrade) => {
      await ready.promise
      upgrade.accept()
    })
    let local: Server | undefined
    await using running = await runInServer({ target: backend.url }, (proxy) => {
      const server = http.createServer(proxy.web)
      local = new Server(server, { destroyUpgradeTimeout: 1 })
      listen(server, proxy)
      return server
    })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ path: '/chat' }))
    await backend.nextUpgrade()
    // Its timer was set before this one.
    await delay(5)
    ready.open()
    await client.until('101')
    client.socket.destroy()
    await local?.close()
  })
}
