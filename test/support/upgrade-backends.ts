import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { certificate, key } from './certificates.ts'

/** A server whose open connections can be waited for. */
export interface CountedServer extends AsyncDisposable {
  readonly url: string
  readonly openConnections: number
  /** Connections ever made. */
  readonly connections: number
  /** Resolves when that many are open. */
  untilOpen(count: number): Promise<void>
  /** Stops listening and destroys every connection. */
  stop(): Promise<void>
}

async function counted(server: net.Server, where: string | number, scheme: string): Promise<CountedServer> {
  const sockets = new Set<net.Socket>()
  const waiters = new Set<() => void>()
  let connections = 0
  server.on('connection', (socket: net.Socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      for (const waiter of waiters) waiter()
    })
    for (const waiter of waiters) waiter()
  })
  await new Promise<void>((resolve) =>
    typeof where === 'string' ? server.listen(where, resolve) : server.listen(where, '127.0.0.1', resolve),
  )
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  }
  return {
    url:
      typeof where === 'string'
        ? `http+unix://${encodeURIComponent(where).replaceAll('%2F', '/')}`
        : `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get openConnections() {
      return sockets.size
    },
    get connections() {
      return connections
    },
    untilOpen: (count) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (sockets.size !== count) return
          waiters.delete(check)
          resolve()
        }
        waiters.add(check)
        check()
      }),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** A real WebSocket server that echoes. */
export interface WebSocketBackend extends CountedServer {
  readonly sockets: WebSocketServer
  /** Requests whose upgrade it has accepted. */
  readonly requests: http.IncomingMessage[]
  /** The next WebSocket that is opened. */
  nextSocket(): Promise<WebSocket>
}

/** Starts one; with TLS, or on a unix socket. */
export async function webSocketBackend(
  options: {
    tls?: boolean
    socketPath?: string
    handleProtocols?: (protocols: Set<string>) => string | false
    perMessageDeflate?: boolean
  } = {},
): Promise<WebSocketBackend> {
  const { tls = false, socketPath, ...rest } = options
  const server = tls ? https.createServer({ key, cert: certificate }) : http.createServer()
  const sockets = new WebSocketServer({ server, ...rest })
  const requests: http.IncomingMessage[] = []
  sockets.on('connection', (socket, request) => {
    requests.push(request)
    socket.on('error', () => {})
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
  const base = await counted(server, socketPath ?? 0, tls ? 'https' : 'http')
  return Object.defineProperties(base, {
    sockets: { value: sockets },
    requests: { value: requests },
    nextSocket: { value: async () => (await once(sockets, 'connection'))[0] },
  }) as WebSocketBackend
}

/** One connection that has sent a head. */
export interface RawUpgrade {
  readonly socket: net.Socket
  /** As latin1, its empty line included. */
  readonly head: string
  /** Bytes that have come after the head, so far. */
  readonly received: string
  /** Resolves once `mark` has come after the head. */
  until(mark: string): Promise<void>
  /** Accepts, with these bytes glued to the head. */
  accept(protocol?: string, glued?: string): void
  /** Resolves with whether it had an error. */
  readonly closed: Promise<boolean>
}

/** A backend on raw sockets; a FIN it answers with its own, unless it `keepsOpen`. */
export interface RawBackend extends CountedServer {
  readonly heads: string[]
  nextUpgrade(): Promise<RawUpgrade>
}

/** Starts one. `script` is called with each head. */
export async function rawBackend(
  script: (upgrade: RawUpgrade) => void = () => {},
  { keepsOpen = false } = {},
): Promise<RawBackend> {
  const heads: string[] = []
  const ready: RawUpgrade[] = []
  const takers: ((upgrade: RawUpgrade) => void)[] = []
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    let text = ''
    let headEnd = -1
    const checks = new Set<() => void>()
    const closed = new Promise<boolean>((resolve) => socket.on('close', resolve))
    const upgrade: RawUpgrade = {
      socket,
      closed,
      get head() {
        return text.slice(0, headEnd)
      },
      get received() {
        return text.slice(headEnd)
      },
      until: (mark) =>
        new Promise((resolve) => {
          const check = (): void => {
            if (!text.slice(headEnd).includes(mark)) return
            checks.delete(check)
            resolve()
          }
          checks.add(check)
          check()
        }),
      accept: (protocol = 'foo', glued = '') => socket.write(switching(protocol, glued), 'latin1'),
    }
    if (!keepsOpen) socket.on('end', () => socket.end())
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      for (const check of checks) check()
      if (headEnd >= 0 || !text.includes('\r\n\r\n')) return
      headEnd = text.indexOf('\r\n\r\n') + 4
      heads.push(upgrade.head)
      script(upgrade)
      const taker = takers.shift()
      if (taker === undefined) ready.push(upgrade)
      else taker(upgrade)
    })
  })
  return Object.defineProperties(await counted(server, 0, 'http'), {
    heads: { value: heads },
    nextUpgrade: {
      value: () =>
        new Promise<RawUpgrade>((resolve) => {
          const upgrade = ready.shift()
          if (upgrade === undefined) takers.push(resolve)
          else resolve(upgrade)
        }),
    },
  }) as RawBackend
}

/** The head of a 101, and what is glued to it. */
export function switching(protocol: string, glued = ''): string {
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n${glued}`
}

/** A request for an upgrade. @param extra further header lines, each ended by CRLF. */
export function upgradeRequest({
  path = '/',
  protocol = 'foo',
  extra = '',
  body = '',
  method = 'GET',
  version = '1.1',
  host = 'example.test',
} = {}): string {
  return `${method} ${path} HTTP/${version}\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n${extra}\r\n${body}`
}
