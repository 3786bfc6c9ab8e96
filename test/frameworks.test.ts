import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket, WebSocketServer } from 'ws'
import { echo, refusalOf } from './adapters/serving.ts'
import type { Given, Started } from './snippets/frameworks/given.ts'
import { listening } from './support/running-proxy.ts'

/* The frameworks of docs/recipes.md, each with the real package: the snippet runs as it stands. */

const root = mkdtempSync(join(tmpdir(), 'heddle-frameworks-'))
writeFileSync(join(root, 'main.js'), 'export const main = 1')
writeFileSync(join(root, 'index.html'), '<title>the page</title>')
after(() => rmSync(root, { recursive: true, force: true }))

/** Where a hot reload has its WebSocket. */
const HOT: Readonly<Record<string, readonly [path: string, protocol?: string]>> = {
  vite: ['/', 'vite-ping'],
  webpack: ['/ws'],
}

const folder = new URL('./snippets/frameworks/', import.meta.url)
const names = readdirSync(folder)
  .filter((name) => name.endsWith('.js') && name !== 'given.js')
  .map((name) => name.slice(0, -3))

for (const name of names) {
  test(`${name}: requests, WebSockets and socket.io under a path, and what nobody takes`, async () => {
    const backend = http.createServer((req, res) => res.end(`${req.method} ${req.url}`))
    const sockets = new WebSocketServer({ noServer: true })
    backend.on('upgrade', (req, socket, head) => {
      if (req.url === '/chat') sockets.handleUpgrade(req, socket, head, (one) => sockets.emit('connection', one, req))
    })
    sockets.on('connection', (socket, req) => socket.on('message', (text) => socket.send(`${req.url}: ${text}`)))
    const socketIo = new Server(backend)
    socketIo.on('connection', (socket) => socket.on('say', (text, reply) => reply(`backend ${text}`)))
    const target = `http://127.0.0.1:${await listening(backend)}`

    const { start } = (await import(new URL(`${name}.js`, folder).href)) as { start(given: Given): Promise<Started> }
    const { server, proxies, close } = await start({ target, port: 0, root })
    if (!server.listening) await once(server, 'listening')
    const host = `localhost:${(server.address() as AddressInfo).port}`

    assert.equal(await (await fetch(`http://${host}/api/users?a=1`)).text(), 'GET /users?a=1')
    assert.doesNotMatch(await (await fetch(`http://${host}/users`)).text(), /^GET/)
    assert.equal(await echo(`ws://${host}/api/chat`, 'hello'), '/chat: hello')
    const client = io(`http://${host}`, { path: '/api/socket.io' })
    assert.equal(await client.emitWithAck('say', 'hello'), 'backend hello')
    client.disconnect()
    const hot = HOT[name]
    if (hot === undefined) assert.notEqual((await refusalOf(`ws://${host}/chat`))[0], undefined)
    else {
      const socket = new WebSocket(`ws://${host}${hot[0]}`, hot[1], { origin: `http://${host}` })
      await once(socket, 'open')
      socket.terminate()
    }
    for (const proxy of proxies) await proxy.close()
    await close()
    server.closeAllConnections?.()
    for (const socket of sockets.clients) socket.terminate()
    sockets.close()
    await socketIo.close()
  })
}

test('NestJS on Fastify', async () => {
  const { NestFactory } = await import('@nestjs/core')
  const { Module } = await import('@nestjs/common')
  const { FastifyAdapter } = await import('@nestjs/platform-fastify')
  const { proxyPlugin } = await import('heddle/fastify')
  class AppModule {}
  Module({})(AppModule)
  const backend = http.createServer((req, res) => res.end(`${req.method} ${req.url}`))
  const target = `http://127.0.0.1:${await listening(backend)}`
  const app = await NestFactory.create(AppModule, new FastifyAdapter() as never, { logger: false })
  await (app as unknown as { register(...args: unknown[]): Promise<unknown> }).register(proxyPlugin, {
    prefix: '/api',
    target,
  })
  await app.listen(0, '127.0.0.1')
  const { port } = (app.getHttpServer() as http.Server).address() as AddressInfo
  assert.equal(await (await fetch(`http://127.0.0.1:${port}/api/x`, { method: 'POST', body: 'x' })).text(), 'POST /x')
  await app.close()
  backend.close()
  backend.closeAllConnections()
})
