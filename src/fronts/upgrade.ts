import { AsyncResource } from 'node:async_hooks'
import http, { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { removeField } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import { describeError, ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { HeaderList, Timeouts } from '../model/exchange.ts'
import type { OutcomeKind } from '../model/outcome.ts'
import { localAnswer } from '../request/answers.ts'
import { BaseExchange } from '../request/base-exchange.ts'
import type { Peer } from '../request/front.ts'
import type { Destination, Parts } from '../request/parts.ts'
import { requestHeaders } from '../request/request-headers.ts'
import { responseHeaders } from '../request/response-headers.ts'
import { answerClientError } from './client-error.ts'
import { type Carrier, createCarrier, type Handshake } from './handshake.ts'
import { isEnding } from './node-front.ts'
import { excess, type OwnAnswer, ownAnswer } from './own-answer.ts'
import { Tunnel, type TunnelEvents } from './tunnel.ts'

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

  function serve(...[peer, req, given, head, call, ordinary]: Parameters<Upgrades['serve']>): void {
    // node has taken its own handlers off. Where the request has a body it gives out a stream that stands for the socket.
    const socket = req.socket
    given.on('error', ignore)
    if (given !== socket) socket.on('error', ignore)
    const earlier = (socket as { _httpMessage?: ServerResponse | null })._httpMessage
    if (earlier) {
      // The answer to the request before it in the pipeline is still on its way.
      earlier.once(
        'close',
        AsyncResource.bind(() => serve(peer, req, given, head, call, ordinary)),
      )
      return
    }
    if (isEnding(socket)) return
    const protocols = protocolsOf(req)
    const exchangeOf = (): UpgradeExchange => {
      const exchange = new UpgradeExchange(parts, carrier, peer, req, head, call, protocols)
      open.add(exchange)
      socket.once('close', () => open.delete(exchange))
      return exchange
    }
    if (hasBody(req)) {
      // It would be read as the first bytes of the new protocol.
      req.resume()
      exchangeOf().reject('ERR_PROXY_BAD_REQUEST', 'an upgrade with a body cannot be passed on')
    } else if (protocols.length > 0) exchangeOf().begin()
    else serveOrdinary(parts, req, socket, head, ordinary)
  }

  return {
    serve,
    goAway() {
      for (const exchange of open) exchange.goAway()
    },
    destroy() {
      for (const exchange of open) exchange.destroy()
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

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0
}

/** Gives the connection to a parser of its own, without the wish to upgrade; it ends after the answer. */
function serveOrdinary(
  parts: Parts,
  req: IncomingMessage,
  socket: Socket,
  head: Buffer,
  handler: OrdinaryHandler,
): void {
  const { method, url, httpVersionMinor, rawHeaders } = req
  const dropped = new Set(['upgrade', 'http2-settings', 'connection'])
  let text = `${method} ${url} HTTP/1.${httpVersionMinor}\r\n`
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (!dropped.has((rawHeaders[i] as string).toLowerCase())) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`
  }
  const nominated = listOf(rawHeaders, 'connection').filter((name) => !dropped.has(name.toLowerCase()))
  text += `Connection: ${[...nominated, 'close'].join(', ')}\r\n\r\n`
  socket.unshift(Buffer.concat([Buffer.from(text, 'latin1'), head]))
  http
    .createServer({ noDelay: true, maxHeaderSize: text.length * 2, insecureHTTPParser: false }, handler)
    .on('clientError', (error, client) => answerClientError(parts, error, client))
    .emit('connection', socket)
}

function ignore(): void {}

/** How long a connection that is over may wait for the other end to take note and go, ms. */
const LINGER_MS = 2_000

/** An exchange that asks for an upgrade, in three phases: handshake, then tunnel or refusal. */
class UpgradeExchange extends BaseExchange implements TunnelEvents {
  readonly #carrier: Carrier
  readonly #req: IncomingMessage
  readonly #socket: Socket
  readonly #call: UpgradeCall | null
  readonly #protocols: readonly string[]
  readonly #own: OwnAnswer | null
  #handshake: Handshake | null = null
  #isConnected = false
  #tunnel: Tunnel | null = null
  #answer: ServerResponse | null = null
  readonly #onClientEnd = (): void => void this.#socket.destroy()

  constructor(
    parts: Parts,
    carrier: Carrier,
    peer: Peer,
    req: IncomingMessage,
    head: Buffer,
    call: UpgradeCall | null,
    protocols: readonly string[],
  ) {
    const request = {
      method: req.method ?? 'GET',
      target: req.url ?? '/',
      minorVersion: req.httpVersionMinor,
      headers: req.rawHeaders,
    }
    const minorVersion = req.httpVersionMajor === 1 ? req.httpVersionMinor : -1
    const sent = requestHeaders(req.rawHeaders, request.method, minorVersion, peer, parts.headerPolicy)
    // The handshake has its own Connection, and no trailers.
    for (const name of ['te', 'connection']) removeField(sent.list, name)
    super(parts, request, peer, sent)
    this.#carrier = carrier
    this.#req = req
    this.#socket = req.socket
    this.#call = call
    this.#protocols = protocols
    this.#own = ownAnswer(request.method, sent)
    if (head.length > 0) this.#socket.unshift(head)
    // Who stops to send before there is an answer has gone: node's server takes it so, too.
    const onClose = AsyncResource.bind(() => this.#onClientClose())
    this.#socket.on('end', this.#onClientEnd).on('close', onClose)
    // What timers and the two connections call runs in the async context of this request, and not in theirs.
    for (const name of ['attempt', 'onDeadline', 'onTunnelClosed'] as const) this[name] = AsyncResource.bind(this[name])
  }

  begin(): void {
    if (this.#socket.destroyed) return this.#onClientClose()
    if (this.#call?.fault !== undefined) return this.reject('ERR_PROXY_HOOK', this.#call.fault)
    if (this.parts.state.isClosing) return this.reject('ERR_PROXY_CLOSED', 'the proxy is closing')
    const tooMuch = excess(this.target, this.headers, this.parts.limits)
    if (tooMuch !== null) return this.reject(...tooMuch)
    if (this.#own !== null) return this.#answerOurselves(this.#own)
    const error = this.route(this.#call?.destination ?? null, this.#call?.timeouts)
    if (error === null) this.attempt()
    else this.#fail(error)
  }

  reject(code: ProxyErrorCode, message: string): void {
    this.#fail(new ProxyError(code, message))
  }

  protected attempt(): void {
    const error = this.pick()
    if (error !== null) return this.#fail(error)
    const backend = this.backend as Backend
    const { connect, headers } = this.timeouts
    this.#isConnected = false
    this.extend(connect > 0 ? connect : headers)
    let handshake: Handshake
    try {
      handshake = this.#carrier(this.#socket, this.outgoingHead(), this.#protocols.join(', '), backend.endpoint)
    } catch (thrown) {
      return this.#onAttemptFailed(
        this.#backendError('ERR_PROXY_CONNECT', `could not be connected to: ${describeError(thrown)}`, thrown),
      )
    }
    this.#handshake = handshake
    const { request } = handshake
    request.on('error', (thrown) => {
      if (this.#handshake === handshake && this.#answer === null) this.#onAttemptFailed(this.#handshakeError(thrown))
    })
    request.on('socket', (socket) => {
      socket.once(backend.endpoint.isSecure ? 'secureConnect' : 'connect', () => {
        if (this.#handshake !== handshake) return
        this.#isConnected = true
        this.extend(headers)
      })
    })
    request.on('upgrade', (response, socket, rest) => this.#onUpgrade(handshake, response, socket, rest))
    request.on('response', (response) => {
      // A 101 that does not say to what.
      if (response.statusCode === 101) this.#onWrongProtocol('')
      else this.#onRefusal(response)
    })
  }

  #handshakeError(thrown: NodeJS.ErrnoException): ProxyError {
    const { code = '' } = thrown
    const what = describeError(thrown)
    if (!this.#isConnected) {
      // What is no TLS is told by the write that it fails.
      const isSystems = thrown.syscall !== undefined && code !== 'EPROTO'
      const isTls = this.backend?.endpoint.isSecure === true && !isSystems && code !== 'ECONNRESET'
      return this.#backendError(
        isTls ? 'ERR_PROXY_TLS' : 'ERR_PROXY_CONNECT',
        `could not be connected to: ${what}`,
        thrown,
      )
    }
    if (code.startsWith('HPE_'))
      return this.#backendError('ERR_PROXY_BAD_RESPONSE', `sent what is no HTTP: ${what}`, thrown)
    return this.#backendError('ERR_PROXY_RESET', `closed the connection before it answered: ${what}`, thrown)
  }

  #onAttemptFailed(error: ProxyError): void {
    this.#letGo()
    if (this.isEnded) return
    if (!this.tryAgain(error, true, false)) this.#fail(error)
  }

  #onWrongProtocol(named: string): void {
    const what = `switched to ${JSON.stringify(named)}, when asked for ${this.#protocols.join(', ')}`
    this.#onAttemptFailed(this.#backendError('ERR_PROXY_UPGRADE', what))
  }

  /** Forgets the handshake, and lets the backend's connection go. */
  #letGo(): void {
    const handshake = this.#handshake
    this.#handshake = null
    handshake?.letGo()
    handshake?.request.destroy()
  }

  #onUpgrade(handshake: Handshake, response: IncomingMessage, socket: Socket, rest: Buffer): void {
    socket.on('error', ignore)
    const named = listOf(response.rawHeaders, 'upgrade')
    const asked = this.#protocols.map((protocol) => protocol.toLowerCase())
    if (this.#handshake !== handshake) return void socket.destroy()
    if (named.some((protocol) => !asked.includes(protocol.toLowerCase()))) {
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
    this.#socket.off('end', this.#onClientEnd)
    this.#handshake = null
    handshake.join(headers, response, socket, rest)
    this.#tunnel = new Tunnel(this.#socket, socket, named.join().toLowerCase() === 'websocket', this)
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
    const { upgradeIdle, idle } = this.timeouts
    const tunnel = this.#tunnel
    // Where one side has ended the other may finish, but not be forgotten.
    if (tunnel?.isHalfClosed !== true) this.extend(upgradeIdle)
    else this.extend(tunnel.isWebSocket ? LINGER_MS : upgradeIdle || idle)
  }

  onTunnelClosed(): void {
    this.#end('upgraded', null)
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
    })
  }

  /** The backend does not switch: the client gets its answer, and the end of the connection. */
  #onRefusal(response: IncomingMessage): void {
    const headers = this.#answerHeaders(response)
    response.on('error', ignore)
    const status = this.transformResponse(this.status, headers)
    if (status instanceof ProxyError) return this.#fail(status)
    const { events } = this.parts
    if (events.has('response')) events.emit('response', this, status)
    const reason = status === this.status ? (response.statusMessage ?? '') : (http.STATUS_CODES[status] ?? '')
    this.status = status
    const answer = this.#beginAnswer()
    answer.sendDate = response.headers.date === undefined
    answer.writeHead(status, reason, headers)
    this.extend(this.timeouts.idle)
    response.on('data', (chunk: Buffer) => {
      this.responseBytes += chunk.length
      this.extend(this.timeouts.idle)
    })
    response.on('end', () => this.endAttempt('answered', null))
    response.on('close', () => {
      if (!response.complete) this.#cut(this.#backendError('ERR_PROXY_CUT', 'closed the connection in mid-answer'))
    })
    response.pipe(answer)
    answer.on('finish', () => this.#end('answered', null))
  }

  /** The last response on this connection. */
  #beginAnswer(): ServerResponse {
    const socket = this.#socket
    const answer = new ServerResponse(this.#req)
    this.#answer = answer
    answer.shouldKeepAlive = false
    answer.assignSocket(socket)
    answer.on('error', ignore).on('finish', () => this.#linger())
    socket.off('end', this.#onClientEnd).on('drain', () => {
      this.extend(this.timeouts.idle)
      answer.emit('drain')
    })
    return answer
  }

  /** What the client still sends is read and dropped, since closing on it would take the answer away from it (RFC 9112 section 9.6). */
  #linger(): void {
    const socket = this.#socket
    this.#letGo()
    socket.end()
    socket.resume()
    socket.on(
      'close',
      this.parts.clock.schedule(LINGER_MS, () => socket.destroy()),
    )
  }

  /** The client sees that there should have been more. */
  #cut(error: ProxyError): void {
    this.#end('cut', error)
    this.#tunnel?.destroy()
    this.#socket.destroy()
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
    this.parts.deadlines.add(this)
    const { connect, headers, upgradeIdle, idle, total } = this.timeouts
    const isTotal = this.parts.clock.now() >= this.totalAt
    const lateness = isTotal ? this.#backendError('ERR_PROXY_TOTAL_TIMEOUT', `took more than ${total} ms`) : null
    if (this.#tunnel !== null) {
      if (this.#tunnel.isWebSocket && this.#tunnel.isHalfClosed) {
        this.#end('upgraded', null)
        return this.destroy()
      }
      const what = `and the client moved no byte for ${upgradeIdle || idle} ms`
      return this.#cut(lateness ?? this.#backendError('ERR_PROXY_UPGRADE_IDLE_TIMEOUT', what))
    }
    if (this.#answer !== null) {
      const isClients = this.#socket.writableNeedDrain
      return this.#cut(
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

  goAway(): void {
    this.#tunnel?.goAway()
  }

  destroy(): void {
    this.#tunnel?.destroy()
    this.#socket.destroy()
  }

  #fail(error: ProxyError): void {
    this.status = error.status
    this.#letGo()
    this.endAttempt('failed', error)
    this.#end(this.attempts > 0 ? 'failed' : 'local', error)
    this.#send({ status: error.status, ...localAnswer(error) })
  }

  #answerOurselves(own: OwnAnswer): void {
    this.status = own.status
    this.#end('local', null)
    this.#send(own)
  }

  #send({ status, headers, text }: OwnAnswer): void {
    const answer = this.#beginAnswer()
    answer.writeHead(status, headers)
    answer.end(text)
  }

  #end(kind: OutcomeKind, error: ProxyError | null): void {
    this.endAttempt(kind, error)
    this.end(kind, error)
  }

  #backendError(code: ProxyErrorCode, what: string, cause?: unknown): ProxyError {
    return new ProxyError(code, `backend ${this.backend?.id} ${what}`, {
      cause,
      backend: this.backend,
      attempt: this.attempts,
      phase: 'upgrade',
    })
  }
}
