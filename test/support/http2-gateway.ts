import { createHash } from 'node:crypto'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'

/**
 * Lets a test that speaks HTTP/1.1 speak to an HTTP/2 listener: each of its connections becomes one of HTTP/2, each of its requests a stream. A stream
 * that is reset ends the test's connection in the middle of a response, and a test's connection that ends resets its streams.
 */
export interface Http2Gateway extends AsyncDisposable {
  readonly port: number
}

/** What a server adds to the key of a client (RFC 6455 section 1.3). */
const WEBSOCKET = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** Fields of a connection, which HTTP/2 does not have. */
const HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'host',
])

/** Opens a gateway to a port of this machine. */
export async function http2Gateway(port: number): Promise<Http2Gateway> {
  const sessions = new Map<Socket, ClientHttp2Session>()

  function sessionOf(socket: Socket): ClientHttp2Session {
    const known = sessions.get(socket)
    if (known !== undefined && !known.closed && !known.destroyed) return known
    const session = http2.connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 100 })
    sessions.set(socket, session)
    session.on('error', () => {})
    socket.once('close', () => {
      sessions.delete(socket)
      session.destroy()
    })
    return session
  }

  function serve(req: IncomingMessage, res: ServerResponse): void {
    const { method = 'GET', url = '/', rawHeaders, socket } = req
    const hasBody = req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined
    const stream = sessionOf(socket).request(fieldsOf(method, url, rawHeaders), {
      endStream: !hasBody,
      waitForTrailers: hasBody,
    })
    if (hasBody) sendBody(req, stream)
    passOn(stream, req, res)
  }

  const server = http
    .createServer({ requireHostHeader: false, maxHeaderSize: 1 << 20 }, serve)
    .on('checkContinue', serve)
    .on('upgrade', (req, socket, head) => upgrade(sessionOf(socket as Socket), req, socket as Socket, head))
  server.maxHeadersCount = 0
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const session of sessions.values()) session.destroy()
      server.closeAllConnections()
      server.close()
    },
  }
}

function fieldsOf(method: string, path: string, raw: readonly string[]): OutgoingHttpHeaders {
  const fields: Record<string, string | string[]> = { ':method': method, ':path': path, ':scheme': 'http' }
  const nominated = new Set<string>()
  for (let i = 0; i < raw.length; i += 2) {
    if (/^connection$/i.test(raw[i] as string))
      for (const one of (raw[i + 1] as string).split(',')) nominated.add(one.trim().toLowerCase())
  }
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase()
    const value = raw[i + 1] as string
    if (name === 'host') fields[':authority'] = value
    if (HOP.has(name) || nominated.has(name) || (name === 'te' && value !== 'trailers')) continue
    const before = fields[name]
    fields[name] = before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value]
  }
  return fields
}

/** A handshake of HTTP/1.1 becomes an extended CONNECT (RFC 8441), as soon as the listener has said that it takes one. */
function upgrade(session: ClientHttp2Session, req: IncomingMessage, socket: Socket, head: Buffer): void {
  socket.on('error', () => {})
  if (session.remoteSettings?.enableConnectProtocol !== true) {
    session.once('remoteSettings', () => upgrade(session, req, socket, head))
    return
  }
  const { 'sec-websocket-key': key = '', ...fields } = fieldsOf('CONNECT', req.url ?? '/', req.rawHeaders)
  const stream = session.request({ ...fields, ':protocol': req.headers.upgrade }, { endStream: false })
  stream
    .on('error', () => {})
    .on('close', () => (stream.rstCode === 0 ? socket.end() : socket.destroy()))
    .on('response', ({ ':status': status, ...answer }) => {
      if (status === 200) {
        const accept = createHash('sha1').update(`${key}${WEBSOCKET}`).digest('base64')
        const lines = [
          ...rawOf(answer),
          ['Upgrade', 'websocket'],
          ['Connection', 'Upgrade'],
          ['Sec-WebSocket-Accept', accept],
        ]
        const text = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
        socket.write(`HTTP/1.1 101 Switching Protocols\r\n${text}\r\n`)
        stream.write(head)
        socket.pipe(stream).pipe(socket)
        return
      }
      const res = new http.ServerResponse(req)
      res.assignSocket(socket)
      res.shouldKeepAlive = false
      res.sendDate = false
      res.writeHead(Number(status), rawOf(answer).flat())
      stream.pipe(res)
    })
  socket.on('close', () => stream.close(http2.constants.NGHTTP2_CANCEL))
}

function sendBody(req: IncomingMessage, stream: ClientHttp2Stream): void {
  stream.on('wantTrailers', () => stream.sendTrailers(req.trailers))
  req.pipe(stream)
}

function passOn(stream: ClientHttp2Stream, req: IncomingMessage, res: ServerResponse): void {
  let hasEnded = false
  stream
    .on('headers', ({ ':status': status, ...fields }) => {
      if (status === 100) return void res.writeContinue()
      const lines = rawOf(fields).map(([name, value]) => `${name}: ${value}\r\n`)
      res.socket?.write(
        `HTTP/1.1 ${status} ${http.STATUS_CODES[Number(status)] ?? ''}\r\n${lines.join('')}\r\n`,
        'latin1',
      )
    })
    .on('response', ({ ':status': status, ...fields }) => {
      res.sendDate = false
      res.writeHead(Number(status), rawOf(fields).flat())
      res.flushHeaders()
    })
    .on('data', (chunk: Buffer) => {
      if (res.write(chunk)) return
      stream.pause()
      res.once('drain', () => stream.resume())
    })
    .on('trailers', (trailers) => res.addTrailers(rawOf(trailers)))
    .on('end', () => {
      hasEnded = true
    })
    .on('error', () => {})
    .on('close', () => {
      if (hasEnded && stream.rstCode === 0 && res.headersSent) res.end()
      else res.destroy()
    })
  res.on('close', () => {
    if (!res.writableFinished) stream.close(http2.constants.NGHTTP2_CANCEL)
  })
  req.on('error', () => {})
}

/** Fields with the names of HTTP/1.1, which tests look for: `Content-Type`. */
function rawOf(fields: OutgoingHttpHeaders): [string, string][] {
  return Object.entries(fields).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one): [string, string] => [name, String(one)]),
  )
}
