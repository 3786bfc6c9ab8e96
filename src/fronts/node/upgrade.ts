import { AsyncResource } from 'node:async_hooks'
import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Slot, UpgradeBounds } from '../../contracts/pool.ts'
import { headLimitFault, type OwnResponse, ownResponse } from '../../exchange/accept.ts'
import { BaseExchange } from '../../exchange/attempts.ts'
import type { Peer } from '../../exchange/front.ts'
import { errorResponse } from '../../exchange/local-response.ts'
import type { Destination, Parts } from '../../exchange/services.ts'
import { responseHeaders } from '../../headers/response.ts'
import { fieldValue, removeField } from '../../http1/fields.ts'
import { fieldsText } from '../../http1/head-writer.ts'
import type { Backend } from '../../model/backend.ts'
import { connectError, describeError, ProxyError, type ProxyErrorCode } from '../../model/errors.ts'
import type { HeaderList, Timeouts } from '../../model/exchange-view.ts'
import type { OutcomeKind } from '../../model/outcome.ts'
import { type Carrier, createCarrier, createHeadCheck } from '../../pools/upgrade/handshake.ts'
import { callEach, catchRejection, isPromise } from '../../runtime/callbacks.ts'
import { longerAttemptMs } from '../../runtime/slow-addresses.ts'
import { currentResponse, emitDrain, responseOn } from '../node-internals.ts'
import { destroyGuarded } from '../tcp.ts'
import { Tunnel, type TunnelEvents } from '../tunnel/tunnel.ts'
import { respondToClientError } from './client-error.ts'
import { isEnding } from './front.ts'
import { receivedHeaders } from './received-headers.ts'

/** What one call of `proxy.ws` may say differently, below the level of names. */
export interface UpgradeCall {
  readonly destination?: Destination | undefined
  readonly timeouts?: Partial<Timeouts> | undefined
  /** What is wrong with the call itself. */
  readonly fault?: string | undefined
}

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
    call: UpgradeCall | null,
    ordinary: OrdinaryHandler,
  ): void
  /** Asks both ends of every WebSocket to close (1001, RFC 6455 section 7.4.1). */
  goAway(): void
  /** Ends what is left. */
  destroy(): void
}

/** Carries upgrades to backends: the same route, pick, headers, retries and record as other exchanges have. */
export function createUpgrades(parts: Parts): Upgrades {
  const carrier = createCarrier()
  const open = new Set<UpgradeExchange>()
  const tell = (error: unknown): void =>
    parts.logger.error({ err: error }, `an upgraded connection threw: ${describeError(error)}`)

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
    const exchangeOn = (stream: Duplex): UpgradeExchange => {
      const exchange = new UpgradeExchange(parts, carrier, peer, req, stream, head, call, protocols)
      if (!stream.closed) open.add(exchange)
      stream.once('close', () => open.delete(exchange))
      return exchange
    }
    if (hasBody(req)) {
      // It would be read as the first bytes of the new protocol.
      req.resume()
      exchangeOn(req.socket).reject('ERR_PROXY_BAD_REQUEST', 'an upgrade with a body cannot be passed on')
    } else if (protocols.length > 0) exchangeOn(given).begin()
    else serveOrdinary(parts, req, given, head, ordinary)
  }

  /** Before there is an exchange that could end with what is thrown, the connection does. */
  function guarded(stream: Duplex, call: () => void): void {
    try {
      call()
    } catch (thrown) {
      parts.logger.error({ err: thrown }, `an upgrade could not be served: ${describeError(thrown)}`)
      destroyGuarded(stream)
    }
  }

  return {
    serve,
    goAway() {
      callEach(open, (exchange) => exchange.goAway(), tell)
    },
    destroy() {
      callEach(open, (exchange) => exchange.close(), tell)
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
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]?.toLowerCase() !== lowerName) continue
    for (const member of (headers[i + 1] as string).split(',')) if (member.trim() !== '') members.push(member.trim())
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
  parts: Parts,
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
    .on('clientError', (error, client) => respondToClientError(parts, error, client))
    .emit('connection', socket)
}

/** The headers of `req`, as the application has left them, with what `again` says of the connection. */
function ordinaryHeaders(req: IncomingMessage, again: IncomingMessage): IncomingMessage['headers'] {
  const { upgrade: _, 'http2-settings': __, ...headers } = req.headers
  return { ...headers, ...(again.headers.connection === undefined ? {} : { connection: again.headers.connection }) }
}

function ignore(): void {}

function isSlot(value: unknown): value is Slot {
  return typeof (value as Slot | null | undefined)?.release === 'function'
}

/** What a client may send before it has its response, bytes; past so many we read no more. */
const MAX_EARLY_BYTES = 65_536

/** How long a connection that is over may wait for the other end to take note and go, ms. */
const LINGER_MS = 2_000

/** Bounds of a pool that has none for upgrades: the defaults of our own. */
const DEFAULT_BOUNDS = { maxResponseHeadBytes: 65_536, maxInterimResponses: 100 }

/** A request to a backend, and all that belongs to its connection. */
interface Handshake {
  readonly request: ClientRequest
  readonly slot: Slot | null
  /** Reads along with node's client. */
  readonly check: (bytes: Buffer) => void
  socket: Socket | null
}

/**
 * An exchange that asks for an upgrade, in three phases: handshake, then tunnel or refusal. All that sockets, node and
 * http-proxy-3 call is {@link UpgradeExchange.#guarded}.
 */
class UpgradeExchange extends BaseExchange implements TunnelEvents {
  readonly #scope = new AsyncResource('heddle.upgrade', { requireManualDestroy: true })
  readonly #carrier: Carrier
  readonly #req: IncomingMessage
  /** A socket, or any other stream that the application has for one. */
  readonly #socket: Duplex
  readonly #call: UpgradeCall | null
  readonly #protocols: readonly string[]
  readonly #own: OwnResponse | null
  /** What the client has sent behind its request, for the tunnel. */
  #early: Buffer[]
  #earlyBytes = 0
  readonly #onEarly = this.#guarded((chunk: Buffer) => {
    this.#early.push(chunk)
    this.#earlyBytes += chunk.length
    if (this.#earlyBytes >= MAX_EARLY_BYTES) this.#socket.pause()
  })
  #handshake: Handshake | null = null
  #isConnected = false
  #tunnel: Tunnel | null = null
  /** {@link Tunnel} bytes that an ending side had yet to take when it last took some; -1: it has all. */
  #bytesToEnding = -1
  #answer: ServerResponse | null = null

  constructor(
    parts: Parts,
    carrier: Carrier,
    peer: Peer,
    req: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    call: UpgradeCall | null,
    protocols: readonly string[],
  ) {
    const request = {
      method: req.method ?? 'GET',
      target: req.url ?? '/',
      minorVersion: req.httpVersionMinor,
    }
    const sent = receivedHeaders(req, peer, parts.headerPolicy)
    // The handshake has its own Connection, and no trailers.
    for (const name of ['te', 'connection']) removeField(sent.list, name)
    super(parts, request, peer, sent)
    this.#carrier = carrier
    this.#req = req
    this.#socket = socket
    this.#call = call
    this.#protocols = protocols
    this.#own = ownResponse(request.method, sent)
    this.#early = head.length > 0 ? [head] : []
  }

  #takeOver(): void {
    this.#socket
      .on(
        'end',
        this.#guarded(() => this.#onClientEnd()),
      )
      .on(
        'close',
        this.#guarded(() => this.#onClientClose()),
      )
  }

  /**
   * `call` in the async context of this request, and not in that of the timer or the connection that calls it. Whatever it throws
   * ends this exchange, and nothing else.
   */
  #guarded<Args extends unknown[]>(call: (...args: Args) => void): (...args: Args) => void {
    return (...args) => {
      try {
        this.#scope.runInAsyncScope(call, undefined, ...args)
      } catch (thrown) {
        this.onThrown(thrown)
      }
    }
  }

  onThrown(thrown: unknown): void {
    const error = this.hookError('the upgrade', thrown)
    if (this.isEnded) this.parts.logger.error({ exchange: this.id, err: thrown }, error.message)
    try {
      if (this.#tunnel === null && this.#answer?.headersSent !== true && !this.isEnded) this.#fail(error)
      else this.#abort(error)
    } catch {
      this.#abort(error)
    }
  }

  begin(): void {
    try {
      this.#takeOver()
      // Read at once, since only then the end of the connection is noticed.
      this.#socket.on('data', this.#onEarly)
      this.#begin()
    } catch (thrown) {
      this.onThrown(thrown)
    }
  }

  #begin(): void {
    if (this.#socket.destroyed) return this.#onClientClose()
    if (this.#call?.fault !== undefined) return this.#refuse('ERR_PROXY_HOOK', this.#call.fault)
    if (this.parts.state.isClosing) return this.#refuse('ERR_PROXY_CLOSED', 'the proxy is closing')
    const tooMuch = headLimitFault(this.target, this.#req.rawHeaders, this.parts.limits)
    if (tooMuch !== null) return this.#refuse(...tooMuch)
    if (this.#own !== null) return this.#answerOurselves(this.#own)
    const error = this.route(this.#call?.destination ?? null, this.#call?.timeouts)
    if (error === null) this.attempt()
    else this.#fail(error)
  }

  #refuse(code: ProxyErrorCode, message: string): void {
    this.#fail(new ProxyError(code, message))
  }

  /** In place of {@link begin}. */
  reject(code: ProxyErrorCode, message: string): void {
    try {
      this.#takeOver()
      this.#refuse(code, message)
    } catch (thrown) {
      this.onThrown(thrown)
    }
  }

  protected attempt(): void {
    this.#guarded(() => this.#attempt())()
  }

  #attempt(): void {
    const error = this.pick()
    if (error !== null) return this.#fail(error)
    const { upgrades } = this.pool
    this.#isConnected = false
    if (upgrades === undefined) return this.#connect(null, DEFAULT_BOUNDS)
    const attempt = this.attempts
    const slot = upgrades.reserve(this.backend as Backend, this)
    if (!isPromise(slot)) return this.#onSlot(slot, upgrades)
    slot.then(
      this.#guarded((later: Slot) => {
        if (this.isEnded || this.attempts !== attempt) this.#release(later)
        else this.#onSlot(later, upgrades)
      }),
      this.#guarded((thrown: unknown) => {
        if (this.isEnded) return
        const isRepick = thrown instanceof ProxyError && thrown.code === 'ERR_PROXY_NO_BACKEND'
        if (isRepick && this.pickAgain(thrown)) return
        this.#onAttemptFailed(thrown instanceof ProxyError ? thrown : this.hookError('pool', thrown))
      }),
    )
  }

  #onSlot(slot: Slot, bounds: Omit<UpgradeBounds, 'reserve'>): void {
    if (isSlot(slot)) this.#connect(slot, bounds)
    else this.#onAttemptFailed(this.hookError('pool', new TypeError('reserve() gave no slot')))
  }

  /** Whatever a pool of the application's does here, it has its connection back. */
  #release(slot: Slot | null): void {
    if (slot === null) return
    try {
      catchRejection(slot.release(), (thrown) => this.tellPool(thrown))
    } catch (thrown) {
      this.tellPool(thrown)
    }
  }

  /** @param attemptMs for each address of a name; 0 in the first attempt to connect. */
  #connect(slot: Slot | null, bounds: Omit<UpgradeBounds, 'reserve'>, attemptMs = 0): void {
    const { endpoint } = this.backend as Backend
    const { connect, headers } = this.timeouts
    if (attemptMs === 0) this.extend(connect > 0 ? connect : headers)
    let request: ClientRequest
    try {
      request = this.#carrier(this.outgoingHead(), this.#protocols.join(', '), endpoint, bounds, attemptMs)
    } catch (thrown) {
      this.#release(slot)
      return this.#onAttemptFailed(
        this.#backendError(
          endpoint.isSecure ? 'ERR_PROXY_TLS' : 'ERR_PROXY_CONNECT',
          `could not be connected to: ${describeError(thrown)}`,
          thrown,
        ),
      )
    }
    const faultOf = createHeadCheck(this.method, bounds)
    const check = this.#guarded((bytes: Buffer) => {
      const fault = this.#handshake === handshake ? faultOf(bytes) : null
      if (fault !== null) this.#onAttemptFailed(this.#backendError('ERR_PROXY_BAD_RESPONSE', `sent ${fault}`))
    })
    const handshake: Handshake = { request, slot, check, socket: null }
    this.#handshake = handshake
    const current = <Args extends unknown[]>(call: (...args: Args) => void): ((...args: Args) => void) =>
      this.#guarded((...args) => {
        if (this.#handshake === handshake) call(...args)
      })
    request.on(
      'error',
      current((thrown: NodeJS.ErrnoException) => {
        if (this.#answer !== null) return
        const mayTryLonger = !this.#isConnected && attemptMs === 0
        const longerMs = mayTryLonger ? longerAttemptMs(thrown, this.deadline - this.parts.clock.now()) : 0
        if (longerMs > 0) this.#connect(slot, bounds, longerMs)
        else this.#onAttemptFailed(this.#handshakeError(thrown))
      }),
    )
    request.on('socket', (socket) => socket.on('error', ignore))
    request.on(
      'socket',
      current((socket) => {
        handshake.socket = socket
        // Before node's own listener, which emits the response.
        socket.prependListener('data', check)
        socket.once(
          endpoint.isSecure ? 'secureConnect' : 'connect',
          current(() => {
            this.#isConnected = true
            this.extend(headers)
          }),
        )
      }),
    )
    request.on('upgrade', (response, socket, rest) => {
      if (this.#handshake !== handshake) socket.destroy()
      else this.#guarded(() => this.#onUpgrade(handshake, response, socket, rest))()
    })
    request.on(
      'response',
      current((response) => {
        // A 101 that does not say to what.
        if (response.statusCode === 101) this.#onWrongProtocol('')
        else this.#onRefusal(response)
      }),
    )
  }

  #handshakeError(thrown: NodeJS.ErrnoException): ProxyError {
    const { code = '' } = thrown
    const what = describeError(thrown)
    if (!this.#isConnected) {
      // What is no TLS is told by the write that it fails.
      const isSystems = thrown.syscall !== undefined && code !== 'EPROTO'
      const isTls = this.backend?.endpoint.isSecure === true && !isSystems && code !== 'ECONNRESET'
      if (isTls) return this.#backendError('ERR_PROXY_TLS', `could not be connected to: ${what}`, thrown)
      return connectError(this.backend, thrown, { attempt: this.attempts, phase: 'upgrade' })
    }
    if (code.startsWith('HPE_'))
      return this.#backendError('ERR_PROXY_BAD_RESPONSE', `sent what is no HTTP: ${what}`, thrown)
    return this.#backendError('ERR_PROXY_RESET', `closed the connection before it answered: ${what}`, thrown)
  }

  #onAttemptFailed(error: ProxyError): void {
    this.#letGo()
    if (this.isEnded) return
    // A handshake opens a session: like a POST it is repeated only if nothing of it was written (RFC 9110 section 9.2.2).
    if (!this.tryAgain(error, !this.#isConnected, false)) this.#fail(error)
  }

  #onWrongProtocol(named: string): void {
    const what = `switched to ${JSON.stringify(named)}, when asked for ${this.#protocols.join(', ')}`
    this.#onAttemptFailed(this.#backendError('ERR_PROXY_UPGRADE', what))
  }

  /** Forgets the handshake, and lets the backend's connection go. */
  #letGo(): void {
    const handshake = this.#handshake
    this.#handshake = null
    if (handshake === null) return
    this.#release(handshake.slot)
    handshake.socket?.off('data', handshake.check)
    handshake.request.destroy()
    // node counts a request as destroyed when its response has come, and its socket may be open.
    handshake.socket?.destroy()
  }

  #onUpgrade(handshake: Handshake, response: IncomingMessage, socket: Socket, rest: Buffer): void {
    const named = listOf(response.rawHeaders, 'upgrade')
    const asked = new Set(this.#protocols.map((protocol) => protocol.toLowerCase()))
    if (named.length === 0 || named.some((protocol) => !asked.has(protocol.toLowerCase()))) {
      socket.destroy()
      return this.#onWrongProtocol(named.join(', '))
    }
    const headers = this.#answerHeaders(response)
    const error = this.transformResponse(101, headers)
    if (error instanceof ProxyError) {
      socket.destroy()
      return this.#fail(error)
    }
    headers.push('Connection', 'Upgrade', 'Upgrade', named.join(', '))
    this.#handshake = null
    socket.off('data', handshake.check)
    socket.once('close', () => this.#release(handshake.slot))
    if (rest.length > 0) socket.unshift(rest)
    for (const stream of [this.#socket as Partial<Socket>, socket]) {
      stream.setTimeout?.(0)
      stream.setNoDelay?.(true)
      stream.setKeepAlive?.(true)
    }
    this.#socket.pause().off('data', this.#onEarly)
    this.#tunnel = new Tunnel(this.#socket, socket, named.join().toLowerCase() === 'websocket', this)
    for (const chunk of this.#early.splice(0)) this.#tunnel.onClientData(chunk)
    this.#socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fieldsText(headers)}\r\n`, 'latin1')
    this.onProgress()
    const { events, state } = this.parts
    if (events.has('upgrade')) events.emit('upgrade', this, this.backend as Backend)
    if (state.isClosing) this.goAway()
  }

  onClientBytes(bytes: number): void {
    this.requestBytes += bytes
    this.onProgress()
  }

  onBackendBytes(bytes: number): void {
    this.responseBytes += bytes
    this.onProgress()
  }

  onProgress(): void {
    const tunnel = this.#tunnel
    if (tunnel?.isHalfClosed !== true) return this.extend(this.timeouts.upgradeIdle)
    // If one side has ended the other may finish, but not be forgotten.
    const limit = this.timeouts.upgradeIdle || this.timeouts.idle
    const bytes = tunnel.bytesToEndingClient + tunnel.bytesToEndingBackend
    if (bytes === 0) {
      this.#bytesToEnding = -1
      return this.extend(tunnel.isWebSocket ? LINGER_MS : limit)
    }
    // The side that has yet to take its last bytes must take some; what it sends meanwhile does not count.
    if (bytes === this.#bytesToEnding) return
    this.#bytesToEnding = bytes
    this.extend(limit)
  }

  onTunnelClosed(): void {
    this.#guarded(() => this.#end('upgraded', null))()
  }

  #answerHeaders(response: IncomingMessage): HeaderList {
    this.status = response.statusCode ?? 0
    this.firstByteMs = this.parts.clock.now() - this.startedAt
    const { headers, statusCode } = response
    const length = headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? -1) : -1
    return responseHeaders(response.rawHeaders, {
      bodyBytes: statusCode === 204 || statusCode === 101 ? -1 : length,
      isBodiless: this.method === 'HEAD' || statusCode === 304,
      takesTrailers: false,
      via: this.parts.via,
      isUpgradeRequired: statusCode === 426,
    })
  }

  /** The backend does not switch: the client gets its answer, and the end of the connection. */
  #onRefusal(response: IncomingMessage): void {
    response.on('error', ignore)
    const headers = this.#answerHeaders(response)
    const status = this.transformResponse(this.status, headers)
    if (status instanceof ProxyError) return this.#fail(status)
    const { events } = this.parts
    if (events.has('response')) events.emit('response', this, status)
    const reason = status === this.status ? (response.statusMessage ?? '') : (http.STATUS_CODES[status] ?? '')
    this.status = status
    // Where there is a Connection, node adds none.
    if (headers.includes('Connection')) headers.push('Connection', 'close')
    const answer = this.#beginAnswer()
    answer.sendDate = response.headers.date === undefined
    answer.writeHead(status, reason, headers)
    // Not `flushHeaders()`, which writes UTF-8: bytes over 0x7f would become two.
    answer.write('', 'latin1')
    this.extend(this.timeouts.idle)
    response.on(
      'data',
      this.#guarded((chunk: Buffer) => {
        this.responseBytes += chunk.length
        this.extend(this.timeouts.idle)
      }),
    )
    response.on(
      'end',
      this.#guarded(() => this.endAttempt('answered', null)),
    )
    response.on(
      'close',
      this.#guarded(() => {
        if (!response.complete)
          this.#abort(this.#backendError('ERR_PROXY_TRUNCATED', 'closed the connection in mid-answer'))
      }),
    )
    response.pipe(answer)
    answer.on(
      'finish',
      this.#guarded(() => this.#end('answered', null)),
    )
  }

  /** The last response on this connection. */
  #beginAnswer(): ServerResponse {
    if (this.#answer !== null) return this.#answer
    const socket = this.#socket
    const answer = responseOn(socket as Socket, this.#req)
    this.#answer = answer
    answer.on('error', ignore).on(
      'finish',
      this.#guarded(() => this.#linger()),
    )
    socket.on(
      'drain',
      this.#guarded(() => {
        this.extend(this.timeouts.idle)
        answer.emit('drain')
      }),
    )
    // What the client sends is for nobody; that it goes must be noticed.
    this.#early = []
    socket.off('data', this.#onEarly).resume()
    return answer
  }

  /** What the client still sends is read and dropped, since closing on it would take the answer away from it (RFC 9112 section 9.6). */
  #linger(): void {
    const socket = this.#socket
    this.#letGo()
    socket.end()
    socket.on(
      'close',
      this.parts.clock.schedule(LINGER_MS, () => socket.destroy()),
    )
  }

  /** The client sees that there should have been more. */
  #abort(error: ProxyError): void {
    this.#end('truncated', error)
    this.#letGo()
    this.#destroy()
  }

  /** A client that stops sending before it has its response has gone: node's server takes it so, too. */
  #onClientEnd(): void {
    if (this.#tunnel === null && this.#answer?.writableEnded !== true) this.#socket.destroy()
  }

  #onClientClose(): void {
    // A tunnel sees to it by itself.
    if (this.#tunnel !== null) return
    this.#letGo()
    this.#end(
      'aborted',
      new ProxyError('ERR_PROXY_CLIENT_GONE', 'the client closed the connection before it had the answer', {
        backend: this.backend,
        attempt: this.attempts,
      }),
    )
  }

  onDeadline(): void {
    this.#guarded(() => this.#onLate())()
  }

  #onLate(): void {
    this.parts.deadlines.add(this)
    const { connect, headers, upgradeIdle, idle, total } = this.timeouts
    const isTotal = this.parts.clock.now() >= this.totalAt
    // It counts as no head in time where this backend has had all of it.
    const isBackends = this.#isConnected && this.#tunnel === null && this.#answer === null && this.attempts === 1
    const lateness = isTotal
      ? this.#backendError('ERR_PROXY_TOTAL_TIMEOUT', `took more than ${total} ms`, undefined, isBackends)
      : null
    if (this.#tunnel !== null) {
      if (lateness === null && this.#tunnel.isHalfClosed) return this.#onTunnelLate(this.#tunnel)
      const what = `and the client moved no byte for ${upgradeIdle || idle} ms`
      return this.#abort(lateness ?? this.#backendError('ERR_PROXY_UPGRADE_IDLE_TIMEOUT', what))
    }
    if (this.#answer !== null) {
      const isClients = this.#socket.writableNeedDrain
      return this.#abort(
        lateness ??
          (isClients
            ? new ProxyError('ERR_PROXY_CLIENT_TIMEOUT', `the client took no byte for ${idle} ms`)
            : this.#backendError('ERR_PROXY_IDLE_TIMEOUT', `moved no byte of its answer for ${idle} ms`)),
      )
    }
    if (lateness !== null) return this.#fail(lateness)
    this.#onAttemptFailed(
      this.#isConnected || connect === 0
        ? this.#backendError('ERR_PROXY_HEADERS_TIMEOUT', `did not answer the upgrade within ${headers} ms`)
        : this.#backendError('ERR_PROXY_CONNECT_TIMEOUT', `did not accept a connection within ${connect} ms`),
    )
  }

  /** One side has ended, and the other does not. */
  #onTunnelLate(tunnel: Tunnel): void {
    const { bytesToEndingClient, bytesToEndingBackend, isWebSocket } = tunnel
    const bytes = bytesToEndingClient + bytesToEndingBackend
    if (bytes !== 0 && bytes !== this.#bytesToEnding) return this.onProgress()
    if (bytes === 0 && isWebSocket) {
      this.#end('upgraded', null)
      return this.#destroy()
    }
    const ms = this.timeouts.upgradeIdle || this.timeouts.idle
    this.#abort(
      bytesToEndingClient > 0
        ? new ProxyError('ERR_PROXY_CLIENT_TIMEOUT', `the client took no byte for ${ms} ms`)
        : this.#backendError('ERR_PROXY_UPGRADE_IDLE_TIMEOUT', `and the client moved no byte for ${ms} ms`),
    )
  }

  goAway(): void {
    this.#tunnel?.goAway()
  }

  /** Ends it now: whoever closes the proxy waits for no event of the sockets. */
  close(): void {
    if (this.#tunnel === null) this.#guarded(() => this.#onClientClose())()
    else this.onTunnelClosed()
    this.#destroy()
  }

  #destroy(): void {
    this.#tunnel?.destroy()
    destroyGuarded(this.#socket)
  }

  #fail(error: ProxyError): void {
    this.#letGo()
    this.endAttempt('failed', error)
    this.status = error.status
    this.#end(this.attempts > 0 ? 'failed' : 'local', error)
    this.#send({ status: error.status, ...errorResponse(error) })
  }

  #answerOurselves(own: OwnResponse): void {
    this.status = own.status
    this.#end('local', null)
    this.#send(own)
  }

  #send({ status, headers, text }: OwnResponse): void {
    const answer = this.#beginAnswer()
    answer.writeHead(status, headers)
    answer.end(text)
  }

  #end(kind: OutcomeKind, error: ProxyError | null): void {
    this.endAttempt(kind, error)
    this.end(kind, error)
  }

  #backendError(code: ProxyErrorCode, what: string, cause?: unknown, blamesBackend?: boolean): ProxyError {
    return new ProxyError(code, `backend ${this.backend?.id} ${what}`, {
      cause,
      backend: this.backend,
      attempt: this.attempts,
      phase: 'upgrade',
      ...(blamesBackend !== undefined && { blamesBackend }),
    })
  }
}
