import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { type RawClient, rawClient } from './raw-client.ts'

/** Serves `/stream/...` without end, WebSockets, and the rest at once. */
export async function loadedBackend(t: TestContext): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = []
  const streams = new Set<ServerResponse>()
  const server = http.createServer((req, res) => {
    seen.push(req.url ?? '')
    if (req.url?.startsWith('/stream') !== true) return void res.end('ok')
    streams.add(res)
    res.write('data: first\n\n')
    const timer = setInterval(() => res.write('data: more\n\n'), 5)
    res.on('close', () => clearInterval(timer))
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)).on('error', () => {}))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const one of sockets.clients) one.terminate()
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

/** Clients at work. */
export interface Load {
  /** Paths of requests that were answered, and of those that were sent. */
  readonly answered: Set<string>
  readonly sent: Set<string>
  /** The codes with which the WebSockets ended. */
  readonly codes: number[]
  stop(): void
  /** Resolves when every client has come to an end. */
  readonly over: Promise<unknown>
}

let lastPath = 0

/** Three clients that pipeline, two with a WebSocket and two with a stream, all busy until their connection ends. */
export async function load(port: number): Promise<Load> {
  const answered = new Set<string>()
  const sent = new Set<string>()
  const codes: number[] = []
  let isOver = false
  const newPath = (kind: string): string => {
    const path = `/${kind}/${++lastPath}`
    sent.add(path)
    return path
  }
  const ask = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
  const bodies = (client: RawClient): number => client.text.match(/\r\n\r\nok/g)?.length ?? 0

  async function pipelining(): Promise<void> {
    while (!isOver) {
      const client = rawClient(port)
      let isOpen = true
      void client.ended.then(() => {
        isOpen = false
      })
      for (let from = 0; isOpen && !isOver; from += 8) {
        const paths = Array.from({ length: 8 }, () => newPath('short'))
        client.write(paths.map(ask).join(''))
        while (isOpen && bodies(client) < from + 8) await new Promise((resolve) => setTimeout(resolve, 1))
        for (const path of paths.slice(0, bodies(client) - from)) answered.add(path)
      }
      client.socket.destroy()
      if ((await client.ended) === 'ECONNREFUSED') return
    }
  }

  async function streaming(): Promise<void> {
    const client = rawClient(port)
    const path = newPath('stream')
    client.write(ask(path))
    await client.until('data: first')
    begun()
    await client.ended
  }

  async function chatting(): Promise<void> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${newPath('ws')}`)
    socket.on('error', () => {}).on('message', (data) => socket.send(data))
    await once(socket, 'open')
    socket.send('hello')
    begun()
    codes.push(((await once(socket, 'close')) as [number])[0])
  }

  let left = 4
  let begun!: () => void
  const allBegun = new Promise<void>((resolve) => {
    begun = () => void (--left === 0 && resolve())
  })
  const lasting = [streaming(), streaming(), chatting(), chatting()]
  const all = [pipelining(), pipelining(), pipelining(), ...lasting]
  await Promise.race([allBegun, Promise.all(lasting)])
  return {
    answered,
    sent,
    codes,
    stop() {
      isOver = true
    },
    over: Promise.all(all),
  }
}
