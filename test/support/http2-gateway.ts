import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, ServerResponse } from 'node:http'
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'

/**
 * Lets a test that speaks HTTP/1.1 speak to an HTTP/2 listener: each of its connections becomes one of HTTP/2, each of its requests a stream. A stream
 * that is reset ends the test's connection in the middle of a response, and a test's connection that ends resets its streams. A WebSocket becomes an
 * extended CONNECT (RFC 8441); other upgrades, which HTTP/2 does not have, ordinary requests.
 */
export interface Http2Gateway extends AsyncDisposable {
  readonly port: number
}

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

/** RFC 6455 section 1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

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

  async function upgrade(req: IncomingMessage, socket: Socket, rest: Buffer): Promise<void> {
    socket.on('error', () => {})
    if (!/^websocket$/i.test(req.headers.upgrade ?? '')) {
      const res = new ServerResponse(req)
      res.shouldKeepAlive = false
      res.assignSocket(socket)
      res.on('finish', () => socket.end())
      return serve(req, res)
    }
    const session = sessionOf(socket)
    if (session.remoteSettings?.enableConnectProtocol !== true) await once(session, 'remoteSettings')
    const fields = fieldsOf('CONNECT', req.url ?? '/', req.rawHeaders)
    const stream = session.request({ ...fields, ':protocol': 'websocket' }, { endStream: false })
    stream.on('error', () => socket.destroy())
    const [{ ':status': status, ...answer }] = (await once(stream, 'response')) as [OutgoingHttpHeaders]
    const lines = rawOf(answer).map(([name, value]) => `${name}: ${value}\r\n`)
    if (Number(status) === 200) {
      const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}${WEBSOCKET_GUID}`).digest('base64')
      lines.push('Connection: Upgrade\r\n', 'Upgrade: websocket\r\n', `Sec-WebSocket-Accept: ${accept}\r\n`)
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`)
      stream.write(rest)
      socket.pipe(stream)
    } else socket.write(`HTTP/1.1 ${status} \r\n${lines.join('')}Connection: close\r\n\r\n`)
    stream.pipe(socket)
  }

  const server = http
    .createServer({ requireHostHeader: false, maxHeaderSize: 1 << 20 }, serve)
    .on('checkContinue', serve)
    .on('upgrade', (req, socket, rest) => void upgrade(req, socket as Socket, rest).catch(() => socket.destroy()))
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

/** Fields as node:http writes them, with names in lower case. */
function rawOf(fields: OutgoingHttpHeaders): [string, string][] {
  return Object.entries(fields).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one): [string, string] => [name, String(one)]),
  )
}
