import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { Agent, type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { Duplex } from 'node:stream'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import express, { type ErrorRequestHandler } from 'express'
import { Server } from 'socket.io'
import { WebSocket, WebSocketServer } from 'ws'
import { handleUpgrades, type ProxyOptions } from '../../src/index.ts'
import { recordingLogger } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { gate, listening, type RunningProxy, runInServer } from '../support/running-proxy.ts'
import { upgradeRequest, webSocketBackend } from '../support/upgrade-backends.ts'

type Application = (req: IncomingMessage, res: ServerResponse) => unknown

function runThrough(options: ProxyOptions, application: (web: Application) => Application): Promise<RunningProxy> {
  return runInServer(options, (proxy) => {
    const app = application(proxy.web)
    return handleUpgrades(http.createServer(app), app)
  })
}

/** The error that nobody has caught, in place of the end of the process. */
function uncaught(event: 'uncaughtException' | 'unhandledRejection'): Promise<unknown> & Disposable {
  const before = process.listeners(event as never)
  process.removeAllListeners(event)
  const error = once(process, event).then(([thrown]) => thrown)
  return Object.assign(error, {
    [Symbol.dispose]() {
      process.removeAllListeners(event)
      for (const listener of before) process.on(event as never, listener)
    },
  })
}

const UPGRADE = upgradeRequest({ path: '/' })

describe('an application that fails', () => {
  for (const [how, event, app] of [
    [
      'throws',
      'uncaughtException',
      () => {
        throw new Error('of the application')
      },
    ],
    ['rejects', 'unhandledRejection', async () => Promise.reject(new Error('of the application'))],
  ] as const) {
    test(`it ${how}: the client gets 500, and the process learns of it as for a request`, async () => {
      using thrown = uncaught(event)
      await using running = await runThrough({ backends: [] }, () => app)
      const { text } = await converse(running.port, UPGRADE)
      assert.match(text, /^HTTP\/1\.1 500 /)
      assert.match(String(await thrown), /of the application/)
    })
  }

  test('it throws in the middle of a response: the connection ends', async () => {
    using thrown = uncaught('uncaughtException')
    await using running = await runThrough({ backends: [] }, () => (_req, res) => {
      res.writeHead(200)
      res.write('part')
      throw new Error('of the application')
    })
    await converse(running.port, UPGRADE)
    assert.match(String(await thrown), /of the application/)
  })

  test("its error handler responds in Express's way", async () => {
    await using running = await runInServer({ backends: [] }, (proxy) => {
      const app = express()
      app.use('/thrown', () => {
        throw new Error('thrown')
      })
      app.use(proxy.middleware({ passErrors: true }))
      const onError: ErrorRequestHandler = ({ message }, _req, res, _next) => void res.status(418).send(message)
      app.use(onError)
      return handleUpgrades(http.createServer(app), app)
    })
    assert.match(
      (await converse(running.port, upgradeRequest({ path: '/thrown' }))).text,
      /^HTTP\/1\.1 418 [\s\S]*thrown$/,
    )
    assert.match((await converse(running.port, UPGRADE)).text, /^HTTP\/1\.1 418 [\s\S]*no backend/i)
  })

  test('it destroys the response: the connection ends', async () => {
    await using running = await runThrough({ backends: [] }, () => (_req, res) => void res.destroy())
    assert.equal((await converse(running.port, UPGRADE)).text, '')
  })

  test('it calls the proxy after it has begun a response: the connection ends, as that of a request', async () => {
    await using backend = await webSocketBackend()
    await using running = await runThrough({ target: backend.url }, (web) => (req, res) => {
      res.writeHead(200, { 'Content-Length': 4 })
      web(req, res)
      res.end('mine')
    })
    assert.equal((await converse(running.port, UPGRADE)).text, '')
    const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
    assert.equal((await converse(running.port, request)).text, '')
    assert.equal(backend.connections, 0)
  })

  test('it calls the proxy twice: one upgrade, one response', async () => {
    await using backend = await webSocketBackend()
    await using running = await runThrough({ target: backend.url }, (web) => (req, res) => {
      web(req, res)
      web(req, res)
    })
    const socket = new WebSocket(`ws://127.0.0.1:${running.port}/`)
    await once(socket, 'open')
    socket.send('hello')
    await once(socket, 'message')
    assert.equal(backend.connections, 1)
    socket.terminate()
  })
})

describe('a client that leaves', () => {
  test('before its response, which then goes nowhere', async () => {
    const [asked, closed] = [gate<Duplex>(), gate()]
    await using running = await runThrough({ backends: [] }, () => (req, res) => {
      asked.open(req.socket)
      res.once('close', () => {
        res.writeHead(401).end('too late')
        closed.open()
      })
    })
    const client = rawClient(running.port)
    client.write(UPGRADE)
    await asked.promise
    client.socket.resetAndDestroy()
    await closed.promise
  })

  test('while a long response is sent', async () => {
    const closed = gate()
    await using running = await runThrough({ backends: [] }, () => (_req, res) => {
      res.once('close', closed.open)
      res.writeHead(200)
      res.write('z'.repeat(8 << 20))
    })
    const client = rawClient(running.port)
    client.write(UPGRADE)
    await client.until('zzz')
    client.socket.resetAndDestroy()
    await closed.promise
  })
})

test('1,000 upgrades that wait for a guard, and none is lost', async () => {
  const guard = gate()
  let asked = 0
  const all = gate()
  await using running = await runThrough({ backends: [] }, () => async (_req, res) => {
    if (++asked === 1000) all.open()
    await guard.promise
    res.writeHead(401).end()
  })
  const clients = Array.from({ length: 1000 }, () => rawClient(running.port))
  for (const client of clients) client.write(UPGRADE)
  await all.promise
  guard.open()
  for (const client of clients) await client.until('HTTP/1.1 401 ')
  for (const client of clients) client.socket.destroy()
})

test('a connection that is kept alive, and then upgraded', async () => {
  await using backend = await webSocketBackend()
  await using running = await runThrough({ target: backend.url }, (web) => (req, res) => {
    if (req.headers.upgrade === undefined) res.end('ordinary')
    else web(req, res)
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const options = { agent, port: running.port, host: '127.0.0.1' }
  const [first] = (await once(http.get(options), 'response')) as [IncomingMessage]
  const { socket: kept } = first
  await first.resume().toArray()
  const headers = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
  }
  const [, socket] = (await once(http.get({ ...options, headers }), 'upgrade')) as [unknown, Duplex]
  assert.equal(socket, kept)
  socket.destroy()
  agent.destroy()
})

test('an upgrade with a body is refused, through an application too', async () => {
  await using backend = await webSocketBackend()
  await using running = await runThrough({ target: backend.url }, (web) => web)
  const head = UPGRADE.replace('\r\n\r\n', '\r\nContent-Length: 5\r\n\r\n')
  const { text } = await converse(running.port, `${head}hello`)
  assert.match(text, /^HTTP\/1\.1 400 /)
  assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1)
  assert.equal(backend.connections, 0)
})

test('over TLS, beside socket.io, with a backend that takes its time', async () => {
  const [asked, ready] = [gate(), gate()]
  const backend = http.createServer()
  const sockets = new WebSocketServer({
    server: backend,
    verifyClient(_info, accept) {
      asked.open()
      ready.promise.then(() => accept(true))
    },
  })
  let local: Server | undefined
  const target = `http://127.0.0.1:${await listening(backend)}`
  await using running = await runInServer({ target }, (proxy) => {
    const server = https.createServer({ cert: certificate, key }, proxy.web)
    local = new Server(server, { destroyUpgradeTimeout: 1 })
    return handleUpgrades(server, proxy.web)
  })
  const socket = new WebSocket(`wss://127.0.0.1:${running.port}/chat`, { rejectUnauthorized: false })
  await asked.promise
  await delay(5)
  ready.open()
  await once(socket, 'open')
  socket.terminate()
  sockets.close()
  backend.close()
  await local?.close()
})

test('an application has the upgrades of a server once', () => {
  const [app, other]: Application[] = [() => {}, () => {}]
  const server = http.createServer()
  handleUpgrades(server, app as Application)
  assert.equal(handleUpgrades(server, app as Application), server)
  assert.equal(server.listenerCount('upgrade'), 1)
  assert.throws(() => handleUpgrades(server, other as Application), /another application already; call it once/)
})

test('what ws refuses in place of the proxy is logged', async () => {
  const logger = recordingLogger()
  await using backend = await webSocketBackend()
  await using running = await runInServer({ target: backend.url, logger }, (proxy) => {
    const server = http.createServer()
    new WebSocketServer({ server, path: '/own' })
    proxy.attach(server)
    return server
  })
  const { text } = await converse(running.port, upgradeRequest({ path: '/chat' }))
  assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1)
  assert.match(String(logger.messages('warn')), /the upgrade of \/chat has been refused by another .* noServer: true/)
})
