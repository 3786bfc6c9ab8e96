import type { ClientRequest, IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { createProxyServer } from 'http-proxy-3'
import type { RequestHead } from '../contracts/pool.ts'
import type { Endpoint } from '../model/backend.ts'
import type { HeaderList } from '../model/exchange.ts'

/** An upgrade that a backend has been asked for. */
export interface Handshake {
  /** Its `upgrade`, `response` and `error` are the caller's to listen to. */
  readonly request: ClientRequest
  /** Sends the head of the 101 to the client and joins the two connections. */
  join(headers: Readonly<HeaderList>, response: IncomingMessage, backendSocket: Socket, rest: Buffer): void
  /** It failed: takes off the client's socket what has been hung on it. */
  letGo(): void
}

/**
 * Asks a backend for an upgrade on behalf of the client at `socket`. @param upgrade what it is asked to switch to.
 * Throws where the connection cannot even be attempted (a certificate that is none).
 */
export type Carrier = (socket: Socket, head: RequestHead, upgrade: string, endpoint: Endpoint) => Handshake

/**
 * The only user of http-proxy-3, which connects to the backend, does the handshake and moves the bytes. It is given
 * private copies of all it could write into, and what it would do on failure (close the client's connection without
 * an answer) or with a refusal (send it on without backpressure, cut or not) is taken out of its hands.
 */
export function createCarrier(): Carrier {
  const carrier = createProxyServer({})
  // Errors come by the request; and its own listener throws where it is the only one.
  carrier.on('error', () => {})
  let begun: ClientRequest | null = null
  let path = ''
  carrier.on('proxyReqWs', (request: ClientRequest) => {
    begun = request
    // The last moment before it is sent; http-proxy-3 would have joined slashes and dropped a lone question mark.
    request.path = path
  })

  return (socket, head, upgrade, endpoint) => {
    // It lets only GET and WebSocket through: all come under these names, and have their own in the options.
    const view = {
      method: 'GET',
      url: '/',
      httpVersion: '1.1',
      httpVersionMajor: 1,
      headers: { ...headerRecord(head.headers), connection: 'Upgrade', upgrade: 'websocket' },
      socket,
      connection: socket,
    }
    const { tls, hostname, port, socketPath } = endpoint
    const options = {
      target: {
        protocol: endpoint.isSecure ? 'https:' : 'http:',
        host: hostname,
        hostname,
        port,
        ...(socketPath === null ? {} : { socketPath }),
        ca: tls.ca,
        cert: tls.cert,
        key: tls.key,
      },
      // The base of the request's options; it writes into it, so it is new each time. Without a name node would
      // ask for, and verify, the one in the Host header, which is the client's to choose.
      ssl: { allowHalfOpen: true, servername: tls.servername ?? (isIP(hostname) === 0 ? hostname : '') },
      secure: tls.rejectUnauthorized ?? true,
      method: head.method,
      headers: { upgrade },
    }
    const before = { close: socket.listenerCount('close'), error: socket.listenerCount('error') }
    // What it hangs on the client's socket is taken down again where another attempt may follow.
    const takeDown = (): (() => void) => {
      const close = socket.listeners('close').slice(before.close) as (() => void)[]
      const error = socket.listeners('error').slice(before.error) as (() => void)[]
      return () => {
        for (const listener of error) socket.off('error', listener)
        for (const listener of close) {
          socket.off('close', listener)
          // It counts open sockets by these.
          listener()
        }
      }
    }
    begun = null
    path = head.path
    try {
      carrier.ws(view as unknown as IncomingMessage, socket, options as never, () => {})
    } catch (error) {
      takeDown()()
      throw error
    }
    const request = begun as ClientRequest | null
    begun = null
    if (request === null) throw new TypeError('http-proxy-3 made no request')
    const [joinConnections] = request.listeners('upgrade')
    for (const event of ['upgrade', 'response', 'error']) request.removeAllListeners(event)
    return {
      request,
      letGo: takeDown(),
      join(headers, response, backendSocket, rest) {
        response.headers = headerRecord(headers)
        joinConnections?.(response, backendSocket, rest)
      },
    }
  }
}

/** By name as received; repeated ones are a list, which becomes separate lines again. */
function headerRecord(list: Readonly<HeaderList>): Record<string, string | string[]> {
  const names = new Map<string, string>()
  const record: Record<string, string | string[]> = Object.create(null)
  for (let i = 0; i < list.length; i += 2) {
    const lower = (list[i] as string).toLowerCase()
    const name = names.get(lower) ?? (list[i] as string)
    const value = list[i + 1] as string
    const before = record[name]
    names.set(lower, name)
    if (Array.isArray(before)) before.push(value)
    else record[name] = before === undefined ? value : [before, value]
  }
  return record
}
