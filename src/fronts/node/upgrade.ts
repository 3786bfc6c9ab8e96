import { AsyncResource } from 'node:async_hooks'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ExchangeCall } from '../../exchange/call.ts'
import { Exchange } from '../../exchange/exchange.ts'
import type { Core, Services } from '../../exchange/services.ts'
import { fieldValue, fieldValues, removeField } from '../../http1/fields.ts'
import { ProxyError } from '../../model/errors.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { Peer } from '../../model/peer.ts'
import { callEach } from '../../runtime/callbacks.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { currentResponse, emitDrain } from '../node-internals.ts'
import { destroyGuarded } from '../tcp.ts'
import { respondToClientError } from './client-error.ts'
import { isEnding } from './front.ts'
import { receivedHeaders } from './received-headers.ts'
import { UpgradeFront } from './upgrade-front.ts'

/** Serves a request that has turned out not to be an upgrade. */
export type OrdinaryHandler = (req: IncomingMessage, res: ServerResponse) => void

/** Carries upgraded connections; see {@link createUpgrades}. */
export interface Upgrades {
  /** @param ordinary takes what is asked for, but not to be upgraded: see {@link protocolsOf}. */
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
  /** Ends what is left. */
  destroy(): void
}

/** Carries upgrades to backends: the same route, pick, headers, retries and record as other exchanges have. */
export function createUpgrades(core: Core): Upgrades {
  const { services } = core
  const open = new Set<UpgradeFront>()
  const tell = (error: unknown): void =>
    services.logger.error({ err: error }, `an upgraded connection threw: ${describeError(error)}`)

  function serve(...args: Parameters<Upgrades['serve']>): void {
    const [, req, given] = args
    guarded(given, () => {
      // node has taken its own handlers off. If the request has a body, node passes a stream that stands for the socket.
      given.on('error', ignore)
      if (given !== req.socket) req.socket.on('error', ignore)
      begin(...args)
    })
  }

  function begin(...args: Parameters<Upgrades['serve']>): void {
    const [peer, req, given, head, call, ordinary] = args
    const earlier = currentResponse(req.socket)
    if (earlier) {
      // The response to the request before it in the pipeline is still on its way.
      const onDrain = (): void => emitDrain(earlier)
      const onTurn = AsyncResource.bind(() => {
        given.off('drain', onDrain)
        guarded(given, () => begin(...args))
      })
      given.on('drain', onDrain)
      earlier.once('close', onTurn)
      return
    }
    if (isEnding(req.socket)) return
    const protocols = protocolsOf(req)
    if (hasBody(req)) {
      // It would be read as the first bytes of the new protocol.
      req.resume()
      const fault = new ProxyError('ERR_PROXY_BAD_REQUEST', 'an upgrade with a body cannot be passed on')
      carry(peer, req, req.socket, head, { ...call, fault }, protocols)
    } else if (protocols.length > 0) carry(peer, req, given, head, call, protocols)
    else serveOrdinary(services, req, given, head, ordinary)
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
    // The handshake has its own Connection, and no trailers.
    for (const name of ['te', 'connection']) removeField(headers.list, name)
    const exchange = new Exchange(core, front, headers, null, call, protocols.join(', '))
    if (!stream.closed) open.add(front)
    stream.once('close', () => open.delete(front))
    if (!front.connect(exchange.events)) return
    if (protocols.length > 0) front.read()
    exchange.begin()
  }

  /** Before there is an exchange that could end with what is thrown, the connection does. */
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
 * The protocols that a request may be switched to. Not to another version of HTTP: its requests would pass through
 * unseen. And never for HTTP/1.0 (RFC 9110 section 7.8). Empty: it is an ordinary request.
 */
export function protocolsOf(req: IncomingMessage): string[] {
  if (req.httpVersionMinor === 0) return []
  return listOf(req.rawHeaders, 'upgrade').filter((protocol) => !/^(?:h2|http\/)/i.test(protocol))
}

/** The members of a header that is a list (RFC 9110 section 5.6.1), wherever they stand. */
function listOf(headers: Readonly<HeaderList>, lowerName: string): string[] {
  const members: string[] = []
  for (const value of fieldValues(headers, lowerName)) {
    for (const member of value.split(',')) if (member.trim() !== '') members.push(member.trim())
  }
  return members
}

/** By what node has read: the application may have changed `req.headers`. */
function hasBody({ rawHeaders }: IncomingMessage): boolean {
  return (
    fieldValue(rawHeaders, 'transfer-encoding') !== undefined ||
    Number(fieldValue(rawHeaders, 'content-length') ?? 0) !== 0
  )
}

/** Gives the connection to a parser of its own, without the wish to upgrade; it ends after the answer. */
function serveOrdinary(
  services: Services,
  req: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  handler: OrdinaryHandler,
): void {
  const { method = 'GET', url, httpVersionMinor, rawHeaders } = req
  const dropped = new Set(['upgrade', 'http2-settings', 'connection'])
  // What the application may have changed is put back behind the parser: the exchange judges it.
  const written = http.METHODS.includes(method) && method !== 'CONNECT' ? method : 'GET'
  let text = `${written} / HTTP/1.${httpVersionMinor}\r\n`
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (!dropped.has((rawHeaders[i] as string).toLowerCase())) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`
  }
  const nominated = listOf(rawHeaders, 'connection').filter((name) => !dropped.has(name.toLowerCase()))
  text += `Connection: ${[...nominated, 'close'].join(', ')}\r\n\r\n`
  socket.unshift(Buffer.concat([Buffer.from(text, 'latin1'), head]))
  http
    .createServer({ noDelay: true, maxHeaderSize: text.length * 2, insecureHTTPParser: false }, (again, res) =>
      handler(Object.assign(again, { method, url, headers: ordinaryHeaders(req, again) }), res),
    )
    .on('clientError', (error, client) => respondToClientError(services, error, client))
    .emit('connection', socket)
}

/** The headers of `req`, as the application has left them, with what `again` says of the connection. */
function ordinaryHeaders(req: IncomingMessage, again: IncomingMessage): IncomingMessage['headers'] {
  const { upgrade: _, 'http2-settings': __, ...headers } = req.headers
  return { ...headers, ...(again.headers.connection === undefined ? {} : { connection: again.headers.connection }) }
}

function ignore(): void {}
