import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type IncomingMessage, type RequestListener } from 'node:http'
import { Server } from 'socket.io'
import { WebSocket, WebSocketServer } from 'ws'
import type { ExchangeRecord, Proxy } from '../../src/index.ts'
import { type MockBackend, mockBackend } from '../../src/testing/mock-backend.ts'
import { gate, listening, queue } from '../support/running-proxy.ts'

/** An application that listens on a free port. */
export interface Serving extends AsyncDisposable {
  readonly server: http.Server
  readonly url: string
  /** The same for WebSockets. */
  readonly wsUrl: string
  /** The next record of its proxy that no earlier call has returned; waits for it. */
  nextRecord(): Promise<ExchangeRecord>
}

/** Serves `listener`; closes the server and the proxy that it uses. */
export async function serve(listener: RequestListener, proxy: Proxy): Promise<Serving> {
  const server = http.createServer(listener)
  const port = await listening(server)
  const records = queue<ExchangeRecord>()
  proxy.on('finish', (_exchange, record) => records.push(record))
  return {
    server,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    nextRecord: records.next,
    async [Symbol.asyncDispose]() {
      server.close()
      await proxy.close()
      server.closeAllConnections()
    },
  }
}

/** Says to every WebSocket message which path it came on. */
export async function echoBackend(): Promise<{ readonly url: string; readonly connections: number } & AsyncDisposable> {
  let connections = 0
  const server = http.createServer()
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, req) => {
    connections++
    socket.on('message', (text) => socket.send(`${req.url}: ${text}`))
  })
  const port = await listening(server)
  return {
    url: `http://127.0.0.1:${port}`,
    get connections() {
      return connections
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate()
      sockets.close()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A form with one field, in the type that no parser's result can be written again exactly. */
export const MULTIPART = {
  method: 'POST',
  headers: { 'content-type': 'multipart/form-data; boundary=x' },
  body: '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
}

/** Reads the whole body. */
export async function consume(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

/** A server of socket.io that responds to 'say' with its name and the text. */
export async function socketIoBackend(name: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = http.createServer()
  const sockets = new Server(server)
  sockets.on('connection', (socket) => socket.on('say', (text, reply) => reply(`${name} ${text}`)))
  const port = await listening(server)
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => sockets.close(),
  }
}

/** How an upgrade is refused: the status and the body. */
export async function refusalOf(url: string): Promise<[number | undefined, string]> {
  const socket = new WebSocket(url)
  socket.on('error', () => {})
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
  const body = await consume(response)
  socket.terminate()
  return [response.statusCode, body]
}

/** Sends and receives one message. */
export async function echo(url: string, text: string): Promise<string> {
  const socket = new WebSocket(url)
  const heard = queue<string>()
  socket.on('message', (message) => heard.push(String(message)))
  await once(socket, 'open')
  socket.send(text)
  const message = await heard.next()
  socket.close()
  await once(socket, 'close')
  return message
}

/** A client that asks, leaves as soon as the backend has its request, and so ends that, too. */
export async function leaveEarly(url: string, backend: MockBackend): Promise<void> {
  const abort = new AbortController()
  const response = fetch(url, { signal: abort.signal })
  await backend.nextRequestHead()
  abort.abort()
  await assert.rejects(response)
  await backend.untilOpenConnections(0)
}

const EVENTS = ['data: 1\n\n', 'data: 2\n\n']

/** A backend that sends the second of two events when the client has the first one. */
export async function eventsInTurn(): Promise<{ readonly backend: MockBackend; check(url: string): Promise<void> }> {
  const seen = gate()
  const backend = await mockBackend(async (_request, reply) => {
    reply.head({ headers: { 'content-type': 'text/event-stream' } })
    reply.chunk(EVENTS[0] as string)
    await seen.promise
    reply.chunk(EVENTS[1] as string)
    reply.end()
  })
  return {
    backend,
    async check(url) {
      const heard: string[] = []
      for await (const chunk of (await fetch(url)).body ?? []) {
        heard.push(Buffer.from(chunk).toString())
        seen.open()
      }
      assert.deepEqual(heard, EVENTS)
    },
  }
}
