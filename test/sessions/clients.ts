import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { listening } from '../support/running-proxy.ts'

/** A real socket.io server. It tells each client its name, with which the ids of its sessions begin. */
export interface SocketIoBackend extends AsyncDisposable {
  readonly name: string
  readonly url: string
}

export async function socketIoBackend(name: string): Promise<SocketIoBackend> {
  const server = http.createServer()
  const sockets = new Server(server, { serveClient: false })
  sockets.engine.generateId = () => `${name}-${randomUUID()}`
  sockets.on('connection', (socket) => {
    socket.on('echo', (text: unknown, respond: (text: unknown, name: string) => void) => respond(text, name))
  })
  const port = await listening(server)
  return {
    name,
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await sockets.close()
    },
  }
}

export type Transports = readonly ('polling' | 'websocket')[]

/** One client of socket.io with a session, which does not reconnect. */
export interface Session {
  /** Sends a message, and waits for its echo. @returns the name of the backend. Rejects if the session is lost. */
  echo(text: string): Promise<string>
  close(): Promise<void>
}

/** Loopback addresses for clients: macOS has one only. */
const HAS_ADDRESSES = process.platform === 'linux'

/** The client with a number has an address and a cookie of its own. Rejects if it gets no session. */
export async function openSession(url: string, number: number, transports: Transports): Promise<Session> {
  const localAddress = HAS_ADDRESSES ? `127.1.${number >> 8}.${number & 255}` : '127.0.0.1'
  const agent = new http.Agent({ keepAlive: true, localAddress })
  const socket = io(url, {
    forceNew: true,
    reconnection: false,
    timeout: 120_000,
    transports: [...transports],
    agent: agent as unknown as string,
    extraHeaders: { cookie: `session=${number}` },
  })
  const lost = new Promise<never>((_resolve, reject) => {
    socket.on('connect_error', reject)
    socket.on('disconnect', (reason) => reject(new Error(`disconnected: ${reason}`)))
  })
  lost.catch(() => {})
  const upgraded = new Promise((resolve) => socket.io.engine.once('upgrade', resolve))
  const first = transports.length > 1 ? upgraded : null
  try {
    await Promise.race([new Promise<void>((resolve) => socket.on('connect', resolve)), lost])
    if (first !== null) await Promise.race([first, lost])
  } catch (error) {
    await close()
    throw error
  }

  async function close(): Promise<void> {
    const { engine } = socket.io
    const closed = engine.readyState === 'closed' ? null : once(engine as never, 'close')
    socket.disconnect()
    await closed
    // A session that is lost leaves its poll. A connection that only ends may still read its response.
    for (const connection of Object.values(agent.sockets).flat()) connection?.resetAndDestroy()
    agent.destroy()
  }

  return {
    echo: (text) =>
      Promise.race([
        lost,
        new Promise<string>((resolve, reject) => {
          socket.emit('echo', text, (echoed: unknown, name: string) => {
            if (echoed === text) resolve(name)
            else reject(new Error(`the echo of ${text} is ${String(echoed)}`))
          })
        }),
      ]),
    close,
  }
}

/** Runs `work` for the numbers below `count`, some at a time. */
export async function inParallel(count: number, work: (number: number) => Promise<void>, most = 50): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: Math.min(most, count) }, worker))
}
