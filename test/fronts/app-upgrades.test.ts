import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import net, { type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { handleUpgrades, type Proxy, type ProxyOptions } from '../../src/index.ts'
import { type ManualClock, manualClock, mockBackend, recordingLogger } from '../../src/testing/index.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { gate, type RunningProxy, rounds, runInServer, runProxy } from '../support/running-proxy.ts'
import { type RawUpgrade, rawBackend, upgradeRequest, webSocketBackend } from '../support/upgrade-backends.ts'

type Application = (req: IncomingMessage, res: ServerResponse) => unknown

/** A server whose upgrades go through an application that is made of the proxy. */
function runThrough(
  options: ProxyOptions,
  application: (web: Application, passing: Application) => Application,
  clock?: ManualClock,
): Promise<RunningProxy> {
  return runInServer(options, (proxy) => {
    const middleware = proxy.middleware({ passErrors: true })
    const passing: Application = (req, res) =>
      middleware(req, res, (error) => {
        res.statusCode = error === undefined ? 404 : 599
        res.end(String((error as { code?: string } | undefined)?.code))
      })
    const app = application(proxy.web, passing)
    return handleUpgrades(http.createServer(app), app, clock)
  })
}

/** An application whose server has a listener of others, too, which never responds. */
function besideOthers(clock: ManualClock, app: Application): Promise<RunningProxy> {
  return runInServer({ backends: [], clock }, () => {
    const server = http.createServer().on('upgrade', () => {})
    return handleUpgrades(server, app, clock)
  })
}

async function opened(running: RunningProxy, path: string): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${running.port}${path}`)
  await once(socket, 'open')
  return socket
}

describe('handleUpgrades', () => {
  test('proxy.web in an application carries an upgrade, with the url that the application has left', async () => {
    await using backend = await webSocketBackend()
    await using running = await runThrough({ target: backend.url }, (web) => (req, res) => {
      req.url = (req.url as string).replace('/api', '')
      web(req, res)
      req.url = '/restored'
    })
    const socket = await opened(running, '/api/chat')
    assert.equal(backend.requests[0]?.url, '/chat')
    socket.send('hello')
    assert.equal(String(((await once(socket, 'message')) as unknown[])[0]), 'hello')
    socket.terminate()
  })

  test('what the application responds itself ends the connection, and a response of any size arrives', async () => {
    const body = 'z'.repeat(3 << 20)
    await using running = await runThrough({ backends: [] }, () => (_req, res) => {
      res.writeHead(403, { 'Content-Type': 'text/plain' })
      if (!res.write(body)) res.once('drain', () => res.end('.'))
    })
    const { text } = await converse(running.port, upgradeRequest({ path: '/' }))
    assert.match(text, /^HTTP\/1\.1 403 Forbidden\r\n(?:.*\r\n)*Connection: close\r\n/)
    assert.equal(text.match(/z/g)?.length, body.length)
    assert.match(text, /\.\r\n0\r\n\r\n$/)
  })

  test('bytes that the client sends while a guard waits reach the backend', async () => {
    const guard = gate()
    await using backend = await rawBackend((upgrade) => upgrade.accept())
    await using running = await runThrough({ target: backend.url }, (web) => async (req, res) => {
      await guard.promise
      web(req, res)
    })
    const client = rawClient(running.port)
    client.write(`${upgradeRequest({ path: '/' })}early`)
    client.write(', and later')
    guard.open()
    await client.until('101')
    client.write('!')
    await (await backend.nextUpgrade()).until('early, and later!')
    client.socket.destroy()
  })

  test('a client that leaves while a guard waits is noticed, and the response is closed', async () => {
    const [asked, closed] = [gate<Duplex>(), gate()]
    await using running = await runThrough({ backends: [] }, () => (req, res) => {
      res.once('close', closed.open)
      asked.open(req.socket)
    })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ path: '/' }))
    await asked.promise
    client.socket.end()
    await closed.promise
    assert.equal(await client.ended, 'end')
  })

  test('a failure goes to the application, which responds, or asks another backend', async () => {
    await using backend = await webSocketBackend()
    await using running = await runThrough(
      { groups: { none: { backends: [] }, some: { target: backend.url } }, routes: [{ path: '/', group: 'none' }] },
      (web, passing) => (req, res) => {
        const handler = req.url === '/passing' ? passing : web
        handler(req, res)
      },
    )
    assert.match(
      (await converse(running.port, upgradeRequest({ path: '/passing' }))).text,
      /^HTTP\/1\.1 599 [\s\S]*ERR_PROXY_NO_BACKEND/,
    )
    assert.match((await converse(running.port, upgradeRequest({ path: '/' }))).text, /^HTTP\/1\.1 503 /)
  })

  for (const [how, serve] of [
    ['through an application', (_: Proxy, app: Application) => handleUpgrades(http.createServer(app), app)],
    [
      'by proxy.ws',
      (proxy: Proxy) =>
        http.createServer().on('upgrade', (req, socket, head) => {
          const onError = (): void => proxy.ws(req, socket, head, { group: 'some' })
          proxy.ws(req, socket, head, { onError })
        }),
    ],
  ] as const) {
    test(`after a failure the upgrade can be given to another backend, ${how}: nothing is lost, and nothing is kept`, async () => {
      const asked = gate<RawUpgrade>()
      await using dead = await rawBackend(asked.open)
      await using backend = await rawBackend((upgrade) => upgrade.accept())
      await using running = await runInServer(
        {
          groups: { none: { target: dead.url, retry: false }, some: { target: backend.url } },
          routes: [{ path: '/', group: 'none' }],
        },
        (proxy) => {
          const app: Application = (req, res) => {
            const onError = (): void => {
              // For the access log of the application.
              assert.equal(res.statusCode, 200)
              proxy.web(req, res, { group: 'some' })
              assert.equal(res.statusCode, 101)
            }
            proxy.web(req, res, { onError })
          }
          return serve(proxy, app)
        },
      )
      const client = rawClient(running.port)
      client.write(`${upgradeRequest({ path: '/' })}first`)
      const { socket } = await asked.promise
      client.write(', second')
      await rounds()
      socket.destroy()
      await client.until('101')
      const end = 'z'.repeat(1 << 20)
      client.write(end)
      const carried = await backend.nextUpgrade()
      await carried.until(end)
      assert.equal(carried.received, `first, second${end}`)
      // The client may end its side: a tunnel is open in each direction.
      client.socket.end()
      await once(carried.socket, 'end')
      client.socket.destroy()
    })
  }

  test('an application that has given its upgrade away can neither respond nor end the connection', async () => {
    await using backend = await webSocketBackend()
    await using running = await runThrough({ target: backend.url }, (web) => (req, res) => {
      web(req, res)
      res.writeHead(500).end('mine')
      res.destroy()
    })
    const socket = await opened(running, '/')
    socket.send('hello')
    assert.equal(String(((await once(socket, 'message')) as unknown[])[0]), 'hello')
    socket.terminate()
  })

  test('a client that leaves while the backend takes its time is noticed', async () => {
    const asked = gate<RawUpgrade>()
    await using backend = await rawBackend(asked.open)
    await using running = await runThrough({ target: backend.url }, (web) => web)
    const client = rawClient(running.port)
    client.write(upgradeRequest({ path: '/' }))
    const { closed } = await asked.promise
    client.write('more')
    client.socket.end()
    await closed
  })

  test('of what a client sends while a guard waits, little is kept', async () => {
    const asked = gate<Duplex>()
    await using running = await runThrough({ backends: [] }, () => (req) => asked.open(req.socket))
    const client = rawClient(running.port)
    client.write(upgradeRequest({ path: '/' }))
    const socket = await asked.promise
    client.write('z'.repeat(8 << 20))
    while (!socket.isPaused()) await rounds(1)
    assert.ok((socket as Socket).bytesRead < 1 << 18)
    client.socket.destroy()
  })

  test('an upgrade behind a response in its pipeline is run when that is finished', async () => {
    const first = gate()
    const seen: string[] = []
    await using backend = await rawBackend((upgrade) => upgrade.accept())
    await using running = await runThrough({ target: backend.url }, (web) => (req, res) => {
      seen.push(req.url as string)
      if (req.url !== '/first') web(req, res)
      else first.promise.then(() => res.end('first'))
    })
    const client = rawClient(running.port)
    client.write(`GET /first HTTP/1.1\r\nHost: x\r\n\r\n${upgradeRequest({ path: '/up' })}`)
    while (seen.length === 0) await new Promise(setImmediate)
    first.open()
    await client.until('101')
    assert.match(client.text, /first[\s\S]*HTTP\/1\.1 101/)
    assert.deepEqual(seen, ['/first', '/up'])
    client.socket.destroy()
  })

  test('a request that is not to be upgraded stays an ordinary one', async () => {
    await using backend = await mockBackend()
    await using running = await runThrough({ target: backend.url }, (web) => web)
    const { text } = await converse(running.port, upgradeRequest({ path: '/', protocol: 'h2c' }))
    assert.match(text, /^HTTP\/1\.1 200 /)
  })
})

test('an upgrade that the application has answered is not taken by a proxy after that', async () => {
  const logger = recordingLogger()
  await using backend = await webSocketBackend()
  const asked = gate()
  await using running = await runInServer({ target: backend.url, logger }, (proxy) => {
    const app: Application = (req, res) => {
      res.writeHead(404).end('nothing here')
      proxy.ws(req, req.socket, Buffer.alloc(0))
      asked.open()
    }
    return handleUpgrades(http.createServer(app), app)
  })
  const { text } = await converse(running.port, upgradeRequest({ path: '/chat' }))
  await asked.promise
  assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1)
  assert.match(text, /^HTTP\/1\.1 404 /)
  assert.equal(backend.connections, 0)
  assert.match(logger.messages('warn').join(), /has been taken by another proxy/)
})

describe('several listeners on one server', () => {
  test('two proxies that take everything: the first one responds, the second one logs and stands aside', async () => {
    const logger = recordingLogger()
    await using one = await webSocketBackend()
    await using two = await webSocketBackend()
    await using second = await runProxy({ target: two.url, logger })
    for (const [how, listen] of [
      ['attach', (server: http.Server) => second.proxy.attach(server)],
      ['proxy.ws', (server: http.Server) => server.on('upgrade', second.proxy.ws)],
    ] as const) {
      await using running = await runInServer({ target: one.url }, (proxy) => {
        const server = http.createServer()
        proxy.attach(server)
        listen(server)
        return server
      })
      const socket = await opened(running, '/chat')
      socket.send('hello')
      await once(socket, 'message')
      assert.equal(two.connections, 0, how)
      const [line] = logger.messages('warn')
      logger.clear()
      assert.match(String(line), /^the upgrade of \/chat has been taken by another proxy, .*paths of its own$/)
      socket.terminate()
    }
  })

  test('an application beside a proxy: what the proxy takes is not answered by the application', async () => {
    await using backend = await webSocketBackend()
    await using running = await runInServer({ target: backend.url, routes: [{ path: '/ours' }] }, (proxy) => {
      const app: Application = (_req, res) => res.writeHead(404).end('nothing here')
      const server = handleUpgrades(http.createServer(app), app)
      proxy.attach(server)
      return server
    })
    const socket = await opened(running, '/ours')
    socket.send('hello')
    await once(socket, 'message')
    socket.terminate()
    assert.match(
      (await converse(running.port, upgradeRequest({ path: '/other' }))).text,
      /^HTTP\/1\.1 404 [\s\S]*nothing here/,
    )
  })

  for (const [how, attach] of [
    [
      'an application',
      (server: http.Server, _: unknown, app: Application, clock: ManualClock) => handleUpgrades(server, app, clock),
    ],
    ['proxy.attach()', (server: http.Server, proxy: { attach(server: http.Server): unknown }) => proxy.attach(server)],
  ] as const) {
    test(`${how} beside a listener of others: theirs is left to them, what nobody takes is answered after 10 s`, async () => {
      const clock = manualClock()
      const sockets = new WebSocketServer({ noServer: true })
      await using backend = await webSocketBackend()
      const asked = gate()
      await using running = await runInServer({ target: backend.url, routes: [{ path: '/ours' }], clock }, (proxy) => {
        const app: Application = (_req, res) => res.writeHead(404).end()
        const server = http.createServer(app).on('upgrade', (req, socket, head) => {
          if (req.url === '/theirs') sockets.handleUpgrade(req, socket, head, (each) => each.send('welcome'))
          if (req.url === '/nobody') asked.open()
        })
        attach(server, proxy, app, clock)
        return server
      })
      const theirs = new WebSocket(`ws://127.0.0.1:${running.port}/theirs`)
      assert.equal(String(((await once(theirs, 'message')) as unknown[])[0]), 'welcome')
      clock.advance(10_000)
      theirs.ping()
      await once(theirs, 'pong')
      theirs.terminate()
      const client = rawClient(running.port)
      client.write(upgradeRequest({ path: '/nobody' }))
      await asked.promise
      clock.advance(9_999)
      assert.equal(client.text, '')
      clock.advance(1)
      await client.until('HTTP/1.1 404 ')
      client.socket.destroy()
      sockets.close()
    })
  }

  for (const [what, act] of [
    ['has written', (socket) => socket.write('HTTP/1.1 401 Unauthorized\r\n\r\n')],
    ['has ended it', (socket) => socket.end()],
    ['reads', (socket) => socket.on('data', () => {})],
  ] as [what: string, act: (socket: Duplex) => unknown][]) {
    test(`a connection on which a listener of others ${what} within 10 s is left to it`, async () => {
      const clock = manualClock()
      const given = gate<Duplex>()
      await using running = await runInServer({ backends: [], routes: [{ path: '/ours' }], clock }, (proxy) => {
        const server = http.createServer().on('upgrade', (_req, socket) => given.open(socket))
        proxy.attach(server)
        return server
      })
      const records: unknown[] = []
      running.proxy.on('finish', (_, record) => records.push(record))
      let text = ''
      // It keeps its side open, whatever the server does.
      const client = net.connect({ port: running.port, host: '127.0.0.1', allowHalfOpen: true })
      client.on('data', (bytes) => {
        text += bytes
      })
      client.write(upgradeRequest({ path: '/theirs' }))
      const socket = await given.promise
      await rounds()
      act(socket)
      clock.advance(10_000)
      await rounds()
      assert.doesNotMatch(text, /404/)
      assert.deepEqual(records, [])
      client.destroy()
    })
  }

  test('several proxies with routes of their own: one responds to what none of them takes', async () => {
    const logger = recordingLogger()
    await using backend = await webSocketBackend()
    await using second = await runProxy({ target: backend.url, routes: [{ path: '/second' }], logger })
    await using running = await runInServer({ target: backend.url, routes: [{ path: '/first' }], logger }, (proxy) => {
      const server = http.createServer()
      for (const one of [proxy, second.proxy]) one.attach(server)
      return server
    })
    for (const path of ['/first', '/second']) (await opened(running, path)).terminate()
    const { text } = await converse(running.port, upgradeRequest({ path: '/neither' }))
    assert.match(text, /^HTTP\/1\.1 404 /)
    assert.deepEqual(logger.messages('warn'), [])
  })

  test('a client that leaves while a guard waits is noticed after 10 s beside a listener of others', async () => {
    const clock = manualClock()
    const [asked, closed] = [gate(), gate()]
    await using running = await besideOthers(clock, (_req, res) => {
      res.once('close', closed.open)
      asked.open()
    })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ path: '/' }))
    await asked.promise
    client.socket.end()
    clock.advance(10_000)
    await closed.promise
  })

  test('a guard that takes longer than 10 s is not kept waiting beside a listener of others', async () => {
    const clock = manualClock()
    const [asked, guard] = [gate(), gate()]
    await using running = await besideOthers(clock, async (_req, res) => {
      asked.open()
      await guard.promise
      res.writeHead(401).end()
    })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ path: '/' }))
    await asked.promise
    clock.advance(10_000)
    guard.open()
    await client.until('HTTP/1.1 401 ')
    client.socket.destroy()
  })
})
