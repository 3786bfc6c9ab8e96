import { AsyncResource } from 'node:async_hooks'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ExchangeCall } from '../../exchange/call.ts'
import { Exchange } from '../../exchange/exchange.ts'
import type { Core } from '../../exchange/services.ts'
import { isLine, isPlainObject } from '../../headers/edits.ts'
import { fieldValue, fieldValues, isToken, removeField } from '../../http1/fields.ts'
import { ProxyError } from '../../model/errors.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { Peer } from '../../model/peer.ts'
import { callEach } from '../../runtime/callbacks.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { destroyGuarded } from '../tcp.ts'
import { respondToClientError } from './client-error.ts'
import { isEnding } from './front.ts'
import { afterEarlierResponse } from './pipeline.ts'
import { receivedHeaders } from './received-headers.ts'
import { UpgradeFront } from './upgrade-front.ts'

/** Serves a request that turned out not to be an upgrade. */
export type OrdinaryHandler = (req: IncomingMessage, res: ServerResponse) => void

/** Carries upgraded connections; see {@link createUpgrades}. */
export interface Upgrades {
  /** @param ordinary serves requests that ask for an upgrade but are not to be upgraded: see {@link protocolsOf}. */
  serve(
    peer: Peer,
    req: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    call: ExchangeCall | null,
    ordinary: OrdinaryHandler,
  ): void
  /** Asks both ends of every WebSocket to close (1001, RFC 6455 section 7.4.1). */
  goAway(): void
  /** Ends all remaining connections. */
  destroy(): void
}

/** Carries upgrades to backends, with the same route, pick, headers, retries and record as other exchanges. */
export function createUpgrades(core: Core): Upgrades {
  const { services } = core
  const open = new Set<UpgradeFront>()
  const tell = (error: unknown): void =>
    services.logger.error({ err: error }, `an upgraded connection threw: ${describeError(error)}`)

  function serve(...args: Parameters<Upgrades['serve']>): void {
    const [, req, given] = args
    guarded(given, () => {
      // node has removed its own handlers. If the request has a body, node passes a stream that stands for the socket.
      given.on('error', ignore)
      if (given !== req.socket) req.socket.on('error', ignore)
      afterEarlierResponse(req.socket, given, () => guarded(given, () => begin(...args)))
    })
  }

  function begin(...args: Parameters<Upgrades['serve']>): void {
    const [peer, req, given, head, call, ordinary] = args
    if (isEnding(req.socket)) return
    const protocols = protocolsOf(req)
    if (hasBody(req)) {
      // The body would be read as the first bytes of the new protocol.
      req.resume()
      const fault = new ProxyError('ERR_PROXY_BAD_REQUEST', 'an upgrade with a body cannot be passed on')
      carry(peer, req, req.socket, head, { ...call, fault }, protocols)
    } else if (protocols.length > 0) carry(peer, req, given, head, call, protocols)
    else
      serveOrdinary(req, given, head, ordinary).on('clientError', (error, client) =>
        respondToClientError(services, error, client),
      )
  }

  function carry(
    peer: Peer,
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    call: ExchangeCall | null,
    protocols: readonly string[],
  ): void {
    const front = new UpgradeFront(req, stream, head, peer, services.clock)
    const headers = receivedHeaders(req, peer, core.snapshot.forwarding.requestHeaders)
    // The handshake has its own Connection header, and no trailers.
    for (const name of ['te', 'connection']) removeField(headers.list, name)
    const exchange = new Exchange(core, front, headers, null, call, protocols.join(', '))
    if (!stream.closed) open.add(front)
    stream.once('close', () => open.delete(front))
    if (!front.connect(exchange.events)) return
    if (protocols.length > 0) front.read()
    exchange.begin()
  }

  /** Runs `call`. No exchange exists yet that an exception could end, so an exception ends the connection. */
  function guarded(stream: Duplex, call: () => void): void {
    try {
      call()
    } catch (thrown) {
      services.logger.error({ err: thrown }, `an upgrade could not be served: ${describeError(thrown)}`)
      destroyGuarded(stream)
    }
  }

  return {
    serve,
    goAway() {
      callEach(open, (front) => front.goAway(), tell)
    },
    destroy() {
      callEach(open, (front) => front.close(), tell)
    },
  }
}

/**
 * The protocols that a request may be switched to; empty for an ordinary request. Never another version of HTTP, whose requests
 * would pass through unseen, and never for HTTP/1.0 (RFC 9110 section 7.8).
 */
export function protocolsOf(req: IncomingMessage): string[] {
  if (req.httpVersionMinor === 0) return []
  return listOf(req.rawHeaders, 'upgrade').filter((protocol) => !/^(?:h2|http\/)/i.test(protocol))
}

/** The members of a list header (RFC 9110 section 5.6.1), from all of its lines. */
function listOf(headers: Readonly<HeaderList>, lowerName: string): string[] {
  const members: string[] = []
  for (const value of fieldValues(headers, lowerName)) {
    for (const member of value.split(',')) if (member.trim() !== '') members.push(member.trim())
  }
  return members
}

/** Decided by the headers that node has read: the application may have changed `req.headers`. */
function hasBody({ rawHeaders }: IncomingMessage): boolean {
  return (
    fieldValue(rawHeaders, 'transfer-encoding') !== undefined ||
    Number(fieldValue(rawHeaders, 'content-length') ?? 0) !== 0
  )
}

/** Gives the connection to a server of its own, without the wish to upgrade; the connection ends after the response. */
export function serveOrdinary(
  req: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  handler: OrdinaryHandler,
): http.Server {
  const { method = 'GET', url, httpVersionMinor, rawHeaders } = req
  const dropped = new Set(['upgrade', 'http2-settings', 'connection'])
  // The values that the application may have changed are restored after the parser: the exchange judges them.
  const written = http.METHODS.includes(method) && method !== 'CONNECT' ? method : 'GET'
  let text = `${written} / HTTP/1.${httpVersionMinor}\r\n`
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = rawHeaders.slice(i, i + 2)
    // A line that the application has broken is refused by the exchange, which finds it in `req.headers` alone.
    if (isLine(name, value) && !dropped.has((name as string).toLowerCase())) text += `${name}: ${value}\r\n`
  }
  const nominated = listOf(rawHeaders, 'connection').filter((name) => isToken(name) && !dropped.has(name.toLowerCase()))
  text += `Connection: ${[...nominated, 'close'].join(', ')}\r\n\r\n`
  socket.unshift(Buffer.concat([Buffer.from(text, 'latin1'), head]))
  // The parser would call it in a context of its own.
  const handle = AsyncResource.bind((again: IncomingMessage, res: ServerResponse) =>
    handler(Object.assign(again, { method, url, headers: ordinaryHeaders(req, again) }), res),
  )
  const server = http.createServer({ noDelay: true, maxHeaderSize: text.length * 2, insecureHTTPParser: false }, handle)
  server.emit('connection', socket)
  return server
}

/** The headers of `req`, as the application has left them, with the Connection header of `again`. */
function ordinaryHeaders(req: IncomingMessage, again: IncomingMessage): IncomingMessage['headers'] {
  if (!isPlainObject(req.headers)) return req.headers
  const { upgrade: _, 'http2-settings': __, ...headers } = req.headers
  return { ...headers, ...(again.headers.connection === undefined ? {} : { connection: again.headers.connection }) }
}

function ignore(): void {}
