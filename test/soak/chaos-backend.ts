import http from 'node:http'
import type { Socket } from 'node:net'
import { listening } from '../support/running-proxy.ts'
import { switching } from '../support/upgrade-backends.ts'

/** What the header `X-Do` may ask of a {@link chaosBackend}. */
export const DEEDS = ['answer', 'large', 'silent', 'reset', 'cut', 'early', 'close', 'garbage'] as const
export type Deed = (typeof DEEDS)[number]

const LARGE = Buffer.alloc(256 * 1024, 'x')

/** A backend that does what each request asks for, and remembers nothing. In a tunnel it echoes; `bye` and `rst` end it. */
export async function chaosBackend(): Promise<{ readonly url: string } & AsyncDisposable> {
  const sockets = new Set<Socket>()
  const server = http.createServer((req, res) => {
    const deed = req.headers['x-do'] as Deed
    req.on('error', () => {})
    res.on('error', () => {})
    if (deed === 'early') return void res.writeHead(413).end('enough')
    if (deed === 'reset') return void req.socket.resetAndDestroy()
    if (deed !== 'silent') req.on('end', () => answer(deed, res))
    req.resume()
  })
  server.on('upgrade', (req, socket: Socket) => {
    socket.on('error', () => {}).on('end', () => socket.end())
    if (req.headers['x-do'] === 'silent') return void socket.resume()
    socket.write(switching('foo'))
    socket.on('data', (bytes) => {
      const text = bytes.toString('latin1')
      if (text.includes('bye')) socket.end()
      else if (text.includes('rst')) socket.resetAndDestroy()
      else socket.write(bytes)
    })
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
  })
  const port = await listening(server)
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function answer(deed: Deed, res: http.ServerResponse): void {
  if (deed === 'large') res.end(LARGE)
  else if (deed === 'close') res.writeHead(200, { Connection: 'close' }).end('last')
  else if (deed === 'cut') {
    res.write('half', () => res.destroy())
  } else if (deed === 'garbage') res.socket?.end('this is not HTTP\r\n\r\n')
  else res.end('answer')
}
