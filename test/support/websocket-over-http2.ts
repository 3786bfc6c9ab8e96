import { once } from 'node:events'
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import { WebSocket } from 'ws'

/** A WebSocket over a stream of HTTP/2 (RFC 8441). */
export interface Http2WebSocket {
  readonly socket: WebSocket
  readonly stream: ClientHttp2Stream
  readonly headers: IncomingHttpHeaders
}

/** Connects, and waits for the server's settings. */
export async function connected(
  port: number,
  options: http2.SecureClientSessionOptions = {},
  scheme = 'http',
): Promise<ClientHttp2Session & AsyncDisposable> {
  const session = http2.connect(`${scheme}://127.0.0.1:${port}`, options)
  session.on('error', () => {})
  await once(session, 'remoteSettings')
  return Object.assign(session, { [Symbol.asyncDispose]: async () => session.destroy() })
}

/** Sends the request for a WebSocket. @returns the stream, whose response has not come. */
export function handshake(
  session: ClientHttp2Session,
  path = '/',
  headers: Record<string, string> = {},
): ClientHttp2Stream {
  const stream = session.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'http',
      ':authority': 'a.test',
      ':path': path,
      'sec-websocket-version': '13',
      ...headers,
    },
    { endStream: false },
  )
  stream.on('error', () => {})
  return stream
}

/** Opens a WebSocket: ws speaks on the stream as it would on a socket after its handshake. */
export async function openWebSocket(
  session: ClientHttp2Session,
  path = '/',
  headers: Record<string, string> = {},
): Promise<Http2WebSocket> {
  const stream = handshake(session, path, headers)
  const [answer] = (await once(stream, 'response')) as [IncomingHttpHeaders]
  if (Number(answer[':status']) !== 200) throw new Error(`status ${answer[':status']}`)
  // The types of ws lack what its own upgrade uses.
  const socket = new WebSocket(null as never, undefined, {}) as WebSocket & {
    _isServer: boolean
    _closeTimeout: number
    setSocket(stream: unknown, head: Buffer, options: object): void
  }
  socket._isServer = false
  socket._closeTimeout = 10_000
  socket.on('error', () => {})
  // A stream of HTTP/2 has a setTimeout of its own, and no setNoDelay.
  socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 24, allowSynchronousEvents: true })
  return { socket, stream, headers: answer }
}
