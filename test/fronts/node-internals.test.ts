import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import http, { type IncomingMessage, ServerResponse } from 'node:http'
import net, { type AddressInfo, Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import tls from 'node:tls'
import {
  bytesAtFault,
  closeAfter,
  closeListeningSocket,
  currentResponse,
  emitDrain,
  emitLastBytes,
  endsConnection,
  filterUpgrades,
  handshakeCallbacks,
  hasSentContinue,
  isKeptAfter,
  isNodesOwn,
  keepPaused,
  mayHaveBody,
  needsDrain,
  onSocketAssigned,
  pauseReading,
  readAsStream,
  readInto,
  requestBeingRead,
  responseFor,
  resumeReading,
  sendOn,
  setHalfOpen,
  tcpOf,
  watchConnections,
} from '../../src/fronts/node-internals.ts'
import { reset } from '../../src/fronts/tcp.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { gate, rounds, runInServer } from '../support/running-proxy.ts'
import { runSocketServer } from '../support/running-socket-server.ts'

/** A request's head. */
const head = (path: string, more = '', method = 'GET'): string => `${method} ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
const BIG = Buffer.alloc(4 << 20)

/** What node calls a property, for tests that take it away. */
type Hidden = Record<string, unknown>
const hidden = (object: object): Hidden => object as Hidden

/** A node:http server that listens, with one client. */
interface Served extends AsyncDisposable {
  readonly server: http.Server
  readonly client: RawClient
}

async function serve(handler: http.RequestListener, prepare?: (server: http.Server) => void): Promise<Served> {
  const server = http.createServer(handler)
  prepare?.(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = rawClient((server.address() as AddressInfo).port)
  return {
    server,
    client,
    async [Symbol.asyncDispose]() {
      client.socket.destroy()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Sends `request`, and gives `look` its message and response in the server. It ends the response. */
async function inHandler(
  request: string,
  look: (req: IncomingMessage, res: ServerResponse, client: RawClient) => unknown,
): Promise<void> {
  const looked = gate<unknown>()
  await using served = await serve((req, res) => {
    looked.open(Promise.resolve(look(req, res, served.client)).finally(() => res.end()))
  })
  served.client.write(request)
  await looked.promise
}

test('currentResponse and onSocketAssigned: a pipeline has one response at a time', async () => {
  const [first, second, finished] = [gate<ServerResponse>(), gate<ServerResponse>(), gate()]
  const responses = [first, second]
  const before: unknown[] = []
  await using served = await serve(
    (_req, res) => responses.shift()?.open(res),
    (server) => server.on('connection', (socket) => before.push(currentResponse(socket))),
  )
  served.client.write(head('/1') + head('/2'))
  const [one, two] = [await first.promise, await second.promise]
  const socket = one.socket as Socket
  assert.deepEqual(before, [undefined])
  assert.equal(currentResponse(socket), one)
  assert.equal(two.socket, null)
  const seen: unknown[] = []
  onSocketAssigned(two, () => seen.push(two.socket, currentResponse(socket)))
  one.end('one')
  await served.client.until('one')
  assert.deepEqual(seen, [socket, two])
  two.on('close', () => finished.open()).end('two')
  await finished.promise
  assert.equal(currentResponse(socket), null)
})

test('currentResponse is undefined without the property', () => {
  assert.equal(currentResponse(new Socket()), undefined)
})

test('onSocketAssigned never calls if node emits no such event', async () => {
  let calls = 0
  const res = new ServerResponse({ method: 'GET' } as IncomingMessage)
  onSocketAssigned(res, () => calls++)
  res.destroy()
  await rounds()
  assert.equal(calls, 0)
})

test('a response is not written into another that node does not name', async () => {
  const begun = gate<ServerResponse>()
  await using run = await runSocketServer({ backends: [] }, { isBare: true })
  run.behind.removeAllListeners('request')
  run.behind.on('request', (_req, res) => begun.open(res.writeHead(200, { 'Content-Length': 5 })))
  const client = rawClient(run.port)
  client.write(head('/application'))
  const res = await begun.promise
  res.write('ab')
  await client.until('ab')
  delete hidden(res.socket as Socket)._httpMessage
  client.write('no request\r\n\r\n')
  await client.ended
  assert.equal(client.text.split('HTTP/1.1').length, 2, client.text)
})

for (const [name, more, expected] of [
  ['that keeps the connection', '', false],
  ['that ends the connection', 'Connection: close\r\n', true],
] as const) {
  test(`endsConnection: a response ${name}`, () =>
    inHandler(head('/', more), (_req, res) => {
      assert.equal(endsConnection(res), false)
      res.writeHead(200)
      assert.equal(endsConnection(res), expected)
      delete hidden(res)._last
      assert.equal(endsConnection(res), false, 'the fallback')
    }))
}

test('endsConnection: a response to a client that has ended its side', async () => {
  const got = gate<ServerResponse>()
  await using served = await serve(
    (_req, res) => got.open(res),
    (server) => setHalfOpen(server, true),
  )
  served.client.socket.end(head('/'))
  const res = await got.promise
  if (!(res.socket as Socket).readableEnded) await once(res.socket as Socket, 'end')
  assert.equal(endsConnection(res), true)
  res.end('late')
  await served.client.until('late')
})

test('setHalfOpen: without it a client that has ended its side gets no response', async () => {
  await using served = await serve(
    (req, res) => void req.socket.on('end', () => setImmediate(() => res.end('late'))),
    (server) => setHalfOpen(server, false),
  )
  served.client.socket.end(head('/'))
  await served.client.ended
  assert.equal(served.client.text, '')
  assert.equal(hidden(http.createServer()).httpAllowHalfOpen, false, 'node has it')
  setHalfOpen(net.createServer(), true)
})

test('mayHaveBody goes by the method that node has read', () =>
  inHandler(head('/', '', 'HEAD'), (req, res) => {
    req.method = 'GET'
    assert.equal(mayHaveBody(res, 'GET'), false)
    delete hidden(res)._hasBody
    assert.deepEqual([mayHaveBody(res, 'GET'), mayHaveBody(res, 'HEAD')], [true, false], 'the fallback')
  }))

test('mayHaveBody: a response to GET, and one without content', () =>
  inHandler(head('/'), (_req, res) => {
    assert.equal(mayHaveBody(res, 'HEAD'), true)
    res.writeHead(204)
    assert.equal(mayHaveBody(res, 'GET'), false)
  }))

test('hasSentContinue: node has answered the expectation', () =>
  inHandler(head('/', 'Expect: 100-continue\r\nContent-Length: 1\r\n', 'POST'), (_req, res) => {
    assert.equal(hasSentContinue(res), true)
    delete hidden(res)._sent100
    assert.equal(hasSentContinue(res), false, 'the fallback')
  }))

test('hasSentContinue: nothing was expected, or it was not answered', async () => {
  await inHandler(head('/'), (_req, res) => assert.equal(hasSentContinue(res), false))
  const got = gate<ServerResponse>()
  await using served = await serve(
    () => {},
    (server) => server.on('checkContinue', (_req, res) => got.open(res)),
  )
  served.client.write(head('/', 'Expect: 100-continue\r\nContent-Length: 1\r\n', 'POST'))
  const res = await got.promise
  assert.equal(hasSentContinue(res), false)
  res.writeContinue()
  assert.equal(hasSentContinue(res), true)
  res.end()
})

for (const isMissing of [false, true]) {
  test(`needsDrain: as long as much is held${isMissing ? '; the fallback' : ''}`, () =>
    inHandler(head('/'), async (_req, res, client) => {
      if (isMissing) Object.defineProperty(res, 'writableNeedDrain', { value: undefined })
      else assert.equal(typeof res.writableNeedDrain, 'boolean', 'node has it')
      assert.equal(needsDrain(res), false)
      client.socket.pause()
      assert.equal(res.write(BIG), false)
      assert.equal(needsDrain(res), true)
      client.socket.resume()
      await once(res, 'drain')
      assert.equal(needsDrain(res), false)
    }))
}

test('emitDrain: a response that owes its drain emits it once', () =>
  inHandler(head('/'), (_req, res, client) => {
    let drains = 0
    res.on('drain', () => drains++)
    emitDrain(res)
    assert.equal(drains, 0)
    client.socket.pause()
    res.write(BIG)
    emitDrain(res)
    emitDrain(res)
    assert.equal(drains, 1)
    client.socket.resume()
  }))

test('emitDrain: without the flag it emits all the same', () => {
  let drains = 0
  const res = Object.assign(new EventEmitter(), { writableNeedDrain: true }).on('drain', () => drains++)
  emitDrain(res as unknown as ServerResponse)
  assert.equal(drains, 1)
})

for (const isMissing of [false, true]) {
  test(`closeAfter: the response says it, and the connection ends${isMissing ? '; the fallback' : ''}`, async () => {
    await using served = await serve((_req, res) => {
      assert.equal(isKeptAfter(res), true)
      if (isMissing) hidden(res).shouldKeepAlive = undefined
      closeAfter(res)
      assert.equal(isKeptAfter(res), false)
      res.writeHead(200, ['Content-Length', '0']).end()
      closeAfter(res)
    })
    served.client.write(head('/'))
    assert.equal(await served.client.ended, 'end')
    assert.match(served.client.text, /\r\nConnection: close\r\n/i)
  })
}

test('responseFor, sendOn: a response on a connection that node has handed over', async () => {
  await using served = await serve(
    () => {},
    (server) =>
      server.on('upgrade', (req, socket) => {
        const res = responseFor(req)
        sendOn(socket as Socket, res)
        assert.equal(currentResponse(socket), res)
        assert.throws(() => sendOn(socket as Socket, responseFor(req)), { code: 'ERR_HTTP_SOCKET_ASSIGNED' })
        res.writeHead(403, { 'Content-Length': 2 }).on('finish', () => socket.end())
        res.end('no')
      }),
  )
  served.client.write(head('/', UPGRADE))
  await served.client.ended
  assert.match(served.client.text, /^HTTP\/1\.1 403 Forbidden\r\n(?:.*\r\n)*Connection: close\r\n(?:.*\r\n)*\r\nno$/)
})

test('an upgrade ends its connection if a response cannot be put on it', async () => {
  const { assignSocket } = ServerResponse.prototype
  await using running = await runInServer({ backends: [] }, (proxy) => {
    const server = http.createServer()
    proxy.attach(server)
    return server
  })
  hidden(ServerResponse.prototype).assignSocket = undefined
  try {
    const client = rawClient(running.port)
    client.write(head('/', UPGRADE))
    await client.ended
    assert.equal(client.text, '')
  } finally {
    ServerResponse.prototype.assignSocket = assignSocket
  }
})

test('requestBeingRead: from the head to the end of the response', async () => {
  const [got, closed] = [gate<ServerResponse>(), gate()]
  const before: unknown[] = []
  await using served = await serve(
    (_req, res) => got.open(res.on('close', () => closed.open())),
    (server) => server.on('connection', (socket) => before.push(requestBeingRead(socket))),
  )
  served.client.write(head('/', 'Content-Length: 2\r\n', 'POST'))
  const res = await got.promise
  const socket = res.socket as Socket
  assert.deepEqual(before, [null])
  assert.equal(requestBeingRead(socket), res.req)
  served.client.write('ab')
  for await (const _ of res.req);
  assert.equal(requestBeingRead(socket), res.req)
  res.end()
  await closed.promise
  await rounds()
  assert.equal(requestBeingRead(socket), null)
})

test('requestBeingRead: null for a connection that was handed over', async () => {
  const seen = gate<unknown>()
  await using served = await serve(
    () => {},
    (server) =>
      server.on('upgrade', (_req, socket) => {
        seen.open(requestBeingRead(socket))
        socket.destroy()
      }),
  )
  served.client.write(head('/', UPGRADE))
  assert.equal(await seen.promise, null)
})

test('requestBeingRead and bytesAtFault: undefined without the properties', () => {
  assert.equal(requestBeingRead(new Socket()), undefined)
  assert.equal(requestBeingRead({ parser: {} }), undefined)
  assert.equal(bytesAtFault(new Error('none')), undefined)
})

test('bytesAtFault: the piece that node could not read', async () => {
  const seen = gate<unknown[]>()
  await using served = await serve(
    () => {},
    (server) =>
      server.on('clientError', (error, socket) => {
        seen.open([bytesAtFault(error)?.toString(), requestBeingRead(socket)])
        socket.destroy()
      }),
  )
  served.client.write('GET / HTTP/1.1\r\nno header\r\n\r\n')
  assert.deepEqual(await seen.promise, ['GET / HTTP/1.1\r\nno header\r\n\r\n', null])
})

test('a refusal names no request if node does not say what it was reading', async () => {
  const refused = gate<unknown>()
  await using run = await runSocketServer({ backends: [] }, { isBare: true })
  run.behind.prependListener('clientError', (error) => delete hidden(error).rawPacket)
  run.events.emitter.on('error', (error) => refused.open(error.code))
  const client = rawClient(run.port)
  client.write('no request\r\n\r\n')
  await client.ended
  assert.equal(await refused.promise, 'ERR_PROXY_BAD_REQUEST')
  assert.match(client.text, /^HTTP\/1\.1 400 /)
})

for (const isSecure of [false, true]) {
  test(`pauseReading holds until resumeReading, on ${isSecure ? 'TLS' : 'TCP'}`, async () => {
    const paths: string[] = []
    const sockets: Socket[] = []
    const server = http.createServer((req, res) => {
      paths.push(req.url as string)
      sockets[0] = req.socket
      if (req.url === '/pause') pauseReading(req.socket)
      else res.end('done')
      if (req.url === '/pause') res.end('paused')
    })
    const listener = isSecure
      ? tls.createServer({ cert: certificate, key }, (socket) => server.emit('connection', socket))
      : net.createServer((socket) => server.emit('connection', socket))
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    const { port } = listener.address() as AddressInfo
    const client = isSecure
      ? tls.connect({ port, host: '127.0.0.1', ca: certificate, servername: 'localhost' })
      : net.connect(port, '127.0.0.1')
    await once(client, isSecure ? 'secureConnect' : 'connect')
    const flush = async (bytes: string): Promise<void> => {
      await new Promise((resolve) => client.write(bytes, resolve))
      await rounds()
    }
    client.resume()
    await flush(head('/1'))
    await flush(head('/pause'))
    await flush(head('/2'))
    const [socket] = sockets as [Socket]
    assert.deepEqual(paths, ['/1', '/pause'])
    // As node's IncomingMessage does it when its body is read.
    if (!hidden(socket)._paused) socket.resume()
    // node resumes by itself.
    socket.once('drain', () => keepPaused(socket)).emit('drain')
    await rounds()
    assert.deepEqual(paths, ['/1', '/pause'])
    resumeReading(socket)
    await rounds()
    assert.deepEqual(paths, ['/1', '/pause', '/2'])
    client.destroy()
    await new Promise((resolve) => listener.close(resolve))
  })
}

test('resumeReading leaves a connection alone that node has handed over', async () => {
  const seen = gate<Socket>()
  await using served = await serve(
    () => {},
    (server) => server.on('upgrade', (req) => seen.open(req.socket)),
  )
  served.client.write(head('/', UPGRADE))
  const socket = await seen.promise
  socket.pause()
  resumeReading(socket)
  assert.equal(socket.isPaused(), true)
  socket.destroy()
})

test("pauseReading and resumeReading go by the stream without node's properties", () => {
  const socket = new Socket()
  pauseReading(socket)
  assert.equal(socket.isPaused(), true)
  resumeReading(socket)
  assert.equal(socket.isPaused(), true, 'nobody reads')
  socket.on('data', () => {})
  resumeReading(socket)
  assert.equal(socket.isPaused(), false)
  socket.destroy()
})

test('emitLastBytes: node reads a request from a connection that has ended', async () => {
  const server = http.createServer((_req, res) => res.end('late'))
  setHalfOpen(server, true)
  const listener = net.createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.once('end', () => {
      socket.removeAllListeners('data')
      server.emit('connection', socket)
      emitLastBytes(socket, Buffer.concat(chunks))
    })
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const client = rawClient((listener.address() as AddressInfo).port)
  client.socket.end(head('/'))
  await client.until('late')
  assert.equal(await client.ended, 'end')
  await new Promise((resolve) => listener.close(resolve))
})

for (const isMissing of [false, true]) {
  test(`tcpOf: the TCP socket under TLS${isMissing ? '; the fallback, which cannot be reset' : ''}`, async () => {
    const server = tls.createServer({ cert: certificate, key })
    const [tcp, secure] = [gate<Socket>(), gate<Socket>()]
    server.on('connection', tcp.open).on('secureConnection', secure.open)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const client = tls
      .connect({ port, host: '127.0.0.1', ca: certificate, servername: 'localhost' })
      .on('error', () => {})
    const [under, socket] = [await tcp.promise, await secure.promise]
    if (isMissing) hidden(socket)._parent = null
    assert.equal(tcpOf(socket), isMissing ? socket : under)
    assert.equal(tcpOf(under), under)
    const closed = once(socket, 'close')
    reset(socket)
    await closed
    client.destroy()
    under.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
}

test('watchConnections: a server that does not listen closes idle connections', async () => {
  const server = http.createServer((_req, res) => res.end('done'))
  const listener = net.createServer((socket) => server.emit('connection', socket))
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as AddressInfo
  for (const isWatched of [false, true]) {
    if (isWatched) watchConnections(server)
    const client = rawClient(port)
    client.write(head('/'))
    await client.until('done')
    await rounds()
    server.closeIdleConnections()
    if (!isWatched) client.socket.destroy()
    await client.ended
    assert.equal(client.socket.readableEnded, isWatched)
  }
  server.close()
  await new Promise((resolve) => listener.close(resolve))
})

test('watchConnections warns if node has another way', async () => {
  const server = http.createServer()
  server.removeAllListeners('listening')
  const warned = once(process, 'warning')
  watchConnections(net.createServer())
  watchConnections(server)
  assert.match(String((await warned)[0]), /headTimeoutMs/)
})

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const asks = major > 24 || (major === 24 && minor >= 9) || (major === 22 && minor >= 21)

test('filterUpgrades: what is not wanted stays an ordinary request', async () => {
  await using served = await serve(
    (req, res) => void res.end(`request ${req.url}`),
    (server) => {
      server.on('upgrade', (req, socket) => socket.end(`upgrade ${req.url}`))
      assert.equal(
        filterUpgrades(server, ({ url }) => url === '/wanted'),
        asks,
      )
    },
  )
  served.client.write(head('/other', UPGRADE))
  await served.client.until(asks ? 'request /other' : 'upgrade /other')
  if (!asks) return
  served.client.write(head('/wanted', UPGRADE))
  await served.client.until('upgrade /wanted')
})

test('filterUpgrades: nobody who listens to upgrades is asked for', async () => {
  await using served = await serve(
    (_req, res) => void res.end('request'),
    (server) => filterUpgrades(server, () => true),
  )
  served.client.write(head('/', UPGRADE))
  await served.client.until('request')
})

test('filterUpgrades adds nothing to a server that does not ask', () => {
  const server = http.createServer()
  delete hidden(server).shouldUpgradeCallback
  assert.equal(
    filterUpgrades(server, () => true),
    false,
  )
  assert.equal('shouldUpgradeCallback' in server, false)
})

test('closeListeningSocket leaves idle connections open', async () => {
  let requests = 0
  const server = http.createServer((_req, res) => void res.end(`response ${++requests}`))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = rawClient((server.address() as AddressInfo).port)
  client.write(head('/'))
  await client.until('response 1')
  await rounds()
  const closed = once(server, 'close')
  closeListeningSocket(server)
  assert.equal(server.listening, false)
  client.write(head('/'))
  await client.until('response 2')
  client.socket.destroy()
  await closed
})

test('isNodesOwn: a plain response, and none that something stands before', () =>
  inHandler(head('/'), (_req, res) => {
    const socket = res.socket as Socket
    assert.equal(isNodesOwn(res, socket), true)
    assert.equal(isNodesOwn(res, null), false)
    for (const [object, method] of [
      [res, 'write'],
      [res, 'end'],
      [socket, 'write'],
    ] as const) {
      hidden(object)[method] = () => true
      assert.equal(isNodesOwn(res, socket), false, method)
      delete hidden(object)[method]
    }
    res.cork()
    assert.equal(isNodesOwn(res, socket), false)
    res.uncork()
    assert.equal(isNodesOwn(res, new Duplex() as Socket), false)
    assert.equal(isNodesOwn(res, new (class extends Socket {})()), false)
    assert.equal(isNodesOwn(res, new tls.TLSSocket(new Socket())), true)
  }))

test('node has no flush() of its own, which that of a middleware would be taken for', () => {
  assert.equal('flush' in ServerResponse.prototype, false)
})

/** A connection that a plain server, or one of TLS, has accepted, and its client. */
async function accepted(
  isSecure = false,
): Promise<AsyncDisposable & { readonly socket: Socket; readonly client: Socket }> {
  const server = isSecure ? tls.createServer({ cert: certificate, key }) : net.createServer({ allowHalfOpen: true })
  const event = isSecure ? 'secureConnection' : 'connection'
  const coming = new Promise<Socket>((resolve) => server.once(event, resolve))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const client = isSecure ? tls.connect({ port, ca: certificate, servername: 'localhost' }) : net.connect(port)
  const socket = await coming
  return {
    socket,
    client,
    async [Symbol.asyncDispose]() {
      socket.destroy()
      client.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('readInto: the bytes come into the buffers that it is given, and the end by the event', async () => {
  await using connection = await accepted()
  const { socket, client } = connection
  const buffers = [Buffer.alloc(4), Buffer.alloc(8), Buffer.alloc(8)] as const
  const calls: [buffer: number, text: string][] = []
  const data: string[] = []
  const [first] = buffers
  const reads = readInto(socket, first, (buffer, length) => {
    const which = buffers.findIndex((one) => one.buffer === buffer.buffer && one.byteOffset === buffer.byteOffset)
    calls.push([which, buffer.toString('latin1', 0, length)])
    return buffers[which + 1] ?? first
  })
  assert.equal(reads, true)
  assert.equal(
    readInto(socket, first, () => first),
    false,
  )
  socket.on('data', (bytes) => data.push(bytes.toString()))
  client.end('aaaabbbbbbbbcccccccca')
  await once(socket, 'end')
  assert.deepEqual(calls, [
    [0, 'aaaa'],
    [1, 'bbbbbbbb'],
    [2, 'cccccccc'],
    [0, 'a'],
  ])
  assert.deepEqual(data, [])
})

test('readInto: a socket that is paused reads nothing', async () => {
  await using connection = await accepted()
  const { socket, client } = connection
  const buffer = Buffer.alloc(64)
  let text = ''
  readInto(socket, buffer, (_buffer, length) => {
    text += buffer.toString('latin1', 0, length)
    socket.pause()
    return buffer
  })
  socket.resume()
  client.write('one')
  await until(() => text === 'one')
  client.write('two')
  await rounds()
  assert.equal(text, 'one')
  socket.resume()
  await until(() => text === 'onetwo')
})

test("readAsStream: the bytes are the stream's again, each with memory of its own", async () => {
  await using connection = await accepted()
  const { socket, client } = connection
  const buffer = Buffer.alloc(64)
  const kept: Buffer[] = []
  let text = ''
  readInto(socket, buffer, (_buffer, length) => {
    text += buffer.toString('latin1', 0, length)
    return buffer
  })
  socket.on('data', (bytes: Buffer) => kept.push(bytes))
  client.write('one')
  await until(() => text === 'one')
  readAsStream(socket, buffer)
  for (const piece of ['two', 'tri']) {
    const before = kept.length
    client.write(piece)
    await until(() => kept.length > before)
  }
  assert.equal(text, 'one')
  assert.deepEqual(kept.map(String), ['two', 'tri'])
  // Nobody reads the stream: no more than it may hold is read.
  socket.pause()
  for (let i = 0; i < 64; i++) client.write(Buffer.alloc(65_536))
  await rounds()
  assert.ok(socket.readableLength <= 2 * socket.readableHighWaterMark, `${socket.readableLength} bytes are held`)
})

test('readInto: not a socket of TLS, nor one that is closed or without what node does not document', async () => {
  await using plain = await accepted()
  await using secure = await accepted(true)
  const buffer = Buffer.alloc(64)
  const read = (socket: Socket): boolean => readInto(socket, buffer, () => buffer)
  assert.equal(read(secure.socket), false)
  assert.equal(read(new Socket()), false)
  const handle = hidden(hidden(plain.socket)._handle as object)
  handle.useUserBuffer = undefined
  assert.equal(read(plain.socket), false)
  delete handle.useUserBuffer
  plain.socket.destroy()
  assert.equal(read(plain.socket), false)
  // Nothing to be undone.
  readAsStream(secure.socket, buffer)
  const data = once(secure.socket, 'data')
  secure.client.write('as before')
  assert.equal(String((await data)[0]), 'as before')
})

test('the socket server reads by the stream if node has no other way', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  await using run = await runSocketServer({ target: backend.url })
  run.server.prependListener('connection', (socket: Socket) => {
    hidden(hidden(socket)._handle as object).useUserBuffer = undefined
  })
  const client = rawClient(run.port)
  client.write(`${head('/', 'Content-Length: 3\r\n', 'POST')}one`)
  await client.until('one')
  client.write(`${head('/', 'Expect: 100-continue\r\nContent-Length: 3\r\n', 'POST')}two`)
  await client.until('two')
  assert.equal(run.handedOver.length, 1)
  client.socket.destroy()
})

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await rounds(1)
}

const source = new URL('../../../src/', import.meta.url)
const NAMES = [
  '_handle',
  '_hasBody',
  '_httpMessage',
  '_last',
  '_parent',
  '_paused',
  '_sent100',
  'assignSocket',
  'getOwnPropertySymbols',
  'httpAllowHalfOpen',
  'kBuffer',
  'kBufferCb',
  'kBufferGen',
  'kNeedDrain',
  'rawPacket',
  'setupConnectionsTracking',
  'shouldKeepAlive',
  'shouldUpgradeCallback',
  'useUserBuffer',
]
const UNDOCUMENTED = new RegExp(
  [
    String.raw`\b(?:${NAMES.join('|')})\b`,
    // Those that streams of our own define are documented; `_server` is http-proxy's.
    String.raw`\._(?!(?:read|transform|server)\b)[a-z]`,
    String.raw`\bas (?:unknown as )?\{ *(?:readonly )?_[a-z]`,
    String.raw`\bparser\?*\.(?:incoming|resume)\b`,
    String.raw`\bServer\.prototype\.close\b`,
    String.raw`\bnew ServerResponse\b`,
    // `end` of http-proxy's server has arguments.
    String.raw`\bemit\('(?:data'|end'\))`,
  ].join('|'),
  'g',
)

/** The second one looks like a response to the first. */
const KNOWING = ['fronts/node-internals.ts', 'compat/http-proxy/nowhere.ts']

test('only one file knows what node does not document', () => {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  assert.ok(files.length > 100)
  const found = files
    .filter((name) => !KNOWING.includes(name.replaceAll('\\', '/')))
    .flatMap((name) =>
      Array.from(readFileSync(new URL(name, source), 'utf8').matchAll(UNDOCUMENTED), ([match]) => `${name}: ${match}`),
    )
  assert.deepEqual(found, [])
})

test('handshakeCallbacks: in TLS 1.3 the protocols that a handshake asks for are known before its name, in TLS 1.2 after it', async () => {
  for (const [version, order] of [
    ['TLSv1.3', ['protocols', 'name']],
    ['TLSv1.2', ['name', 'protocols']],
  ] as const) {
    const calls: [string, object][] = []
    const callbacks = handshakeCallbacks(
      (handshake) => {
        calls.push(['protocols', handshake])
        return 'x'
      },
      (handshake, _name, done) => {
        calls.push(['name', handshake])
        done(null)
      },
    )
    const server = tls.createServer({ cert: certificate, key, ...callbacks }, (socket) => socket.end())
    await once(server.listen(0), 'listening')
    const { port } = server.address() as AddressInfo
    const options = { port, servername: 'localhost', ca: certificate, ALPNProtocols: ['x'], maxVersion: version }
    await once(tls.connect(options).resume(), 'close')
    assert.deepEqual(
      calls.map(([what]) => what),
      order,
    )
    assert.ok(calls[0]?.[1] instanceof tls.TLSSocket)
    assert.equal(calls[0]?.[1], calls[1]?.[1])
    server.close()
  }
})
