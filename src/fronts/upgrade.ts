import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { createProxyServer, type ProxyServer } from 'http-proxy-3'
import { fieldValue } from '../http1/fields.ts'
import { fieldsText } from '../http1/head-writer.ts'
import type { Backend } from '../model/backend.ts'
import type { Timed } from '../model/deadlines.ts'
import { describeError, ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList, Timeouts } from '../model/exchange.ts'
import type { Outcome, OutcomeKind } from '../model/outcome.ts'
import { localAnswer } from '../request/answers.ts'
import { clientAddressOf } from '../request/client-address.ts'
import type { Peer } from '../request/front.ts'
import type { Group } from '../request/group.ts'
import { headerView } from '../request/header-view.ts'
import type { Destination, Parts } from '../request/parts.ts'
import { recordExchange } from '../request/record.ts'
import { type RequestHeaders, requestHeaders } from '../request/request-headers.ts'
import { repeatability } from '../request/retry.ts'
import { parseTarget, withoutDotSegments } from '../request/target.ts'

/** What one call of `proxy.ws` may say differently, below the level of names. */
export interface UpgradeCall {
  readonly destination?: Destination | undefined
  readonly timeouts?: Partial<Timeouts> | undefined
  /** What is wrong with the call itself. */
  readonly fault?: string | undefined
}

/** Carries upgraded connections; see {@link createUpgrades}. */
export interface Upgrades {
  serve(peer: Peer, req: IncomingMessage, socket: Socket, head: Buffer, call: UpgradeCall | null): void
  /** Asks both ends of every WebSocket to close (1001, RFC 6455 section 7.4.1). */
  goAway(): void
  /** Ends what is left. */
  destroy(): void
}

/**
 * The only importer of http-proxy-3, which does the handshake with the backend and moves the bytes. Around it: the
 * same route, pick, headers, retry and record as for other exchanges, a real HTTP answer when an upgrade fails,
 * time limits, and a handler for every event. It gets private copies of all it could write into.
 */
export function createUpgrades(parts: Parts): Upgrades {
  const carrier = createProxyServer({})
  // Per-call callbacks take the errors; its own listener throws where it is the only one.
  carrier.on('error', () => {})
  const open = new Set<UpgradeExchange>()
  return {
    serve(peer, req, socket, head, call) {
      const exchange = new UpgradeExchange(parts, carrier, peer, req, socket, head, call, open)
      exchange.begin()
    },
    goAway() {
      for (const exchange of open) exchange.goAway()
    },
    destroy() {
      for (const exchange of open) exchange.destroy()
    },
  }
}

class UpgradeExchange implements ExchangeView, Timed {
  readonly id: number
  readonly method: string
  readonly target: string
  readonly headers: Readonly<HeaderList>
  readonly startedAt: number
  readonly front: { readonly minorVersion: number }
  deadline = Number.POSITIVE_INFINITY
  timeouts: Timeouts
  attempts = 0
  backend: Backend | null = null
  status = 0
  firstByteMs = -1
  backendMs = 0
  readonly #parts: Parts
  readonly #carrier: ProxyServer
  readonly #peer: Peer
  readonly #req: IncomingMessage
  readonly #socket: Socket
  readonly #head: Buffer
  readonly #call: UpgradeCall | null
  readonly #open: Set<UpgradeExchange>
  readonly #headers: RequestHeaders
  readonly #bytesReadBefore: number
  readonly #bytesWrittenBefore: number
  #path = ''
  #group: Group | null = null
  #tried: readonly Backend[] = []
  #attemptAt = -1
  #proxyReq: ClientRequest | null = null
  #backendSocket: Socket | null = null
  #isConnected = false
  #isEnded = false
  #movedBytes = 0
  #timeoutError: ProxyError | null = null
  #cancelRetry: (() => void) | null = null
  #abort: AbortController | null = null

  constructor(
    parts: Parts,
    carrier: ProxyServer,
    peer: Peer,
    req: IncomingMessage,
    socket: Socket,
    head: Buffer,
    call: UpgradeCall | null,
    open: Set<UpgradeExchange>,
  ) {
    this.id = ++parts.state.exchanges
    this.method = req.method ?? 'GET'
    this.target = req.url ?? '/'
    this.headers = req.rawHeaders
    this.startedAt = parts.clock.now()
    this.front = { minorVersion: req.httpVersionMinor }
    this.timeouts = parts.timeouts
    this.#parts = parts
    this.#carrier = carrier
    this.#peer = peer
    this.#req = req
    this.#socket = socket
    this.#head = head
    this.#call = call
    this.#open = open
    this.#headers = requestHeaders(req.rawHeaders, req.httpVersionMinor, peer, parts.headerPolicy)
    this.#bytesReadBefore = socket.bytesRead - head.length
    this.#bytesWrittenBefore = socket.bytesWritten
    parts.state.active++
    parts.deadlines.add(this)
    open.add(this)
    socket.on('error', () => {})
    socket.on('close', () => this.#onClientClose())
    if (parts.events.has('request')) parts.events.emit('request', this)
  }

  get host(): string {
    return this.#headers.host
  }
  get clientAddress(): string {
    return clientAddressOf(this.#peer, this.#headers.forwardedFor, this.#parts.isTrusted)
  }
  get group(): string {
    return this.#group?.name ?? ''
  }
  get requestBytes(): number {
    return Math.max(0, this.#socket.bytesRead - this.#bytesReadBefore)
  }
  get responseBytes(): number {
    return Math.max(0, this.#socket.bytesWritten - this.#bytesWrittenBefore)
  }
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#isEnded) this.#abort.abort()
    return this.#abort.signal
  }
  header(name: string): string | undefined {
    return fieldValue(this.headers, name)
  }

  begin(): void {
    const parts = this.#parts
    const { fault, bodyBytes } = this.#headers
    const target = parseTarget(this.method, this.target)
    if (this.#call?.fault !== undefined) return this.#fail(new ProxyError('ERR_PROXY_HOOK', this.#call.fault))
    if (fault !== null) return this.#fail(new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`))
    // The body would be read as the first bytes of the new protocol.
    if (bodyBytes !== null)
      return this.#fail(new ProxyError('ERR_PROXY_BAD_REQUEST', 'an upgrade with a body cannot be passed on'))
    if (target === null)
      return this.#fail(new ProxyError('ERR_PROXY_BAD_REQUEST', 'the request target cannot be passed on'))
    if (parts.state.isClosing) return this.#fail(new ProxyError('ERR_PROXY_CLOSED', 'the proxy is closing'))
    const path = parts.router.looksAtPaths ? withoutDotSegments(target.path) : target.path
    const found = this.#call?.destination ?? parts.find(this.method, target.host ?? this.host, path)
    if (found === null) return this.#fail(new ProxyError('ERR_PROXY_NO_ROUTE', 'no route matches the request'))
    this.#group = found.group
    this.timeouts = { ...found.route.timeouts, ...this.#call?.timeouts }
    const request = { method: this.method, path, headers: headerView(this.#headers.list) }
    for (const transform of found.route.transforms) {
      try {
        transform.request?.(request, this)
      } catch (error) {
        return this.#fail(this.#hookError(`transform ${transform.name}`, error))
      }
    }
    this.#path = request.path
    this.#attempt()
  }

  #attempt(): void {
    const group = this.#group as Group
    const { clock, events } = this.#parts
    const candidates = group.candidates(this.#tried)
    if (candidates === null) {
      return this.#fail(new ProxyError('ERR_PROXY_NO_BACKEND', `no backend of group ${group.name} is available`))
    }
    let backend: Backend
    try {
      backend = group.balancer.pick(candidates, this)
      if (backend?.cells === undefined) throw new TypeError('pick() returned no backend')
    } catch (error) {
      return this.#fail(this.#hookError(`balancer ${group.balancer.name}`, error))
    }
    this.backend = backend
    this.attempts++
    this.#attemptAt = clock.now()
    this.#isConnected = false
    backend.cells.addPending(1)
    this.#guard(() => group.balancer.onStart?.(backend, this))
    if (this.attempts === 1) this.#guard(() => group.retry?.onExchange?.())
    if (events.has('attempt')) events.emit('attempt', this, backend)
    const { connect, headers } = this.timeouts
    this.deadline =
      connect > 0 ? this.#attemptAt + connect : headers > 0 ? this.#attemptAt + headers : Number.POSITIVE_INFINITY
    this.#carry(backend)
  }

  /** Hands one attempt to http-proxy-3. */
  #carry(backend: Backend): void {
    const socket = this.#socket
    const { endpoint, basePath } = backend
    const showsBackend = this.#parts.hostHeader === 'backend' || !this.#headers.hasHost
    const headers = headerObject(this.#headers.list)
    if (showsBackend) headers.host = backend.host
    const asked = this.header('upgrade') ?? 'websocket'
    // A private view: it reads the method, headers, url and version of what it is given, and lets only GET and
    // WebSocket through, so others come under that name and get their own back in `options`.
    const view = {
      method: 'GET',
      url: basePath + this.#path,
      httpVersion: this.#req.httpVersion,
      httpVersionMajor: 1,
      headers: { ...headers, connection: 'Upgrade', upgrade: 'websocket' },
      socket,
      connection: socket,
    }
    // It ends the client's socket on every failure; another attempt, or our own answer, needs it still.
    const endSocket = socket.destroySoon
    socket.destroySoon = () => {}
    const onRequest = (request: ClientRequest, of: unknown): void => {
      if (of === view) this.#watch(request, endSocket)
    }
    this.#carrier.on('proxyReqWs', onRequest)
    try {
      this.#carrier.ws(
        view as unknown as IncomingMessage,
        socket,
        this.#head,
        {
          target: {
            protocol: endpoint.isSecure ? 'https:' : 'http:',
            host: endpoint.hostname,
            hostname: endpoint.hostname,
            port: endpoint.port,
            ...(endpoint.socketPath === null ? {} : { socketPath: endpoint.socketPath }),
            ca: endpoint.tls.ca,
            cert: endpoint.tls.cert,
            key: endpoint.tls.key,
          },
          ssl: endpoint.tls.servername === undefined ? {} : { servername: endpoint.tls.servername },
          secure: endpoint.tls.rejectUnauthorized ?? true,
          method: this.method,
          headers: { upgrade: asked },
          toProxy: true,
          prependPath: false,
        } as never,
        (error: Error) => this.#onBackendError(error, endSocket),
      )
    } catch (error) {
      socket.destroySoon = endSocket
      this.#onBackendError(error, endSocket)
    } finally {
      this.#carrier.off('proxyReqWs', onRequest)
    }
  }

  #watch(request: ClientRequest, endSocket: () => void): void {
    const { clock } = this.#parts
    this.#proxyReq = request
    request.on('socket', (backendSocket) => {
      const event = this.backend?.endpoint.isSecure ? 'secureConnect' : 'connect'
      backendSocket.once(event, () => {
        this.#isConnected = true
        if (this.deadline !== Number.POSITIVE_INFINITY || this.timeouts.headers > 0) this.#limit(this.timeouts.headers)
      })
    })
    request.once('upgrade', (response: IncomingMessage, backendSocket: Socket) => {
      this.#socket.destroySoon = endSocket
      this.#backendSocket = backendSocket
      this.status = 101
      this.firstByteMs = clock.now() - this.startedAt
      this.#cleanHeaders(response, 'Upgrade')
      // Both die together; what was written before still goes out.
      backendSocket.on('error', () => {})
      backendSocket.on('close', () => {
        this.#socket.destroySoon()
        this.#end('upgraded', null)
      })
      this.#limit(this.timeouts.upgradeIdle)
      const { events } = this.#parts
      if (events.has('upgrade')) events.emit('upgrade', this, this.backend as Backend)
    })
    request.once('response', (response: IncomingMessage) => {
      this.#socket.destroySoon = endSocket
      this.status = response.statusCode ?? 0
      this.firstByteMs = clock.now() - this.startedAt
      this.#cleanHeaders(response, 'close')
      this.#limit(this.timeouts.idle)
      response.on('data', () => {
        this.#limit(this.timeouts.idle)
        if (!this.#socket.writableNeedDrain) return
        response.pause()
        this.#socket.once('drain', () => response.resume())
      })
      response.on('error', () => {})
      response.on('close', () => {
        if (response.complete) return this.#end('answered', null)
        this.#end('cut', this.#backendError('ERR_PROXY_CUT', 'closed the connection in the middle of its answer'))
        this.#socket.destroy()
      })
    })
  }

  /** http-proxy-3 passes on every header it finds. */
  #cleanHeaders(response: IncomingMessage, connection: string): void {
    const { headers } = response
    for (const name of (headers.connection ?? '').split(',')) {
      const lower = name.trim().toLowerCase()
      if (lower !== 'upgrade' && !lower.startsWith('sec-websocket-')) delete headers[lower]
    }
    for (const name of ['keep-alive', 'proxy-connection', 'proxy-authenticate', 'te', 'trailer']) delete headers[name]
    headers.connection = connection
  }

  #onBackendError(cause: unknown, endSocket: () => void): void {
    const socket = this.#socket
    if (this.#isEnded || this.status !== 0) {
      // After the handshake: 'close' follows and ends it.
      socket.destroySoon = endSocket
      return
    }
    const error =
      this.#timeoutError ??
      (this.#isConnected
        ? this.#backendError(
            'ERR_PROXY_RESET',
            `closed the connection before it answered the upgrade: ${describeError(cause)}`,
            cause,
          )
        : this.#backendError('ERR_PROXY_CONNECT', `could not be connected to: ${describeError(cause)}`, cause))
    this.#timeoutError = null
    // http-proxy-3 ends the socket when this returns.
    process.nextTick(() => {
      socket.destroySoon = endSocket
      this.#onAttemptFailed(error)
    })
  }

  #onAttemptFailed(error: ProxyError): void {
    if (this.#isEnded) return
    this.#endAttempt('failed', error)
    this.#tried = [...this.#tried, this.backend as Backend]
    const repeat = repeatability({
      method: this.method,
      error,
      isReplayable: true,
      wasReused: false,
      hasRepeatedStale: true,
    })
    let delayMs = -1
    if (repeat === 'policy') this.#guard(() => (delayMs = this.#group?.retry?.next(this, error) ?? -1))
    if (delayMs < 0) return this.#fail(error)
    const { events, logger, clock } = this.#parts
    logger.info({ exchange: this.id, code: error.code, delayMs }, `retrying: ${error.message}`)
    if (events.has('retry')) events.emit('retry', this, error, delayMs)
    this.deadline = Number.POSITIVE_INFINITY
    this.#cancelRetry = clock.schedule(delayMs, () => {
      this.#cancelRetry = null
      this.#attempt()
    })
  }

  onDeadline(): void {
    const { connect, headers, upgradeIdle, idle } = this.timeouts
    this.#parts.deadlines.add(this)
    if (this.status === 101) {
      const moved = this.requestBytes + this.responseBytes
      this.#limit(upgradeIdle)
      if (moved !== this.#movedBytes) {
        this.#movedBytes = moved
        return
      }
      this.#end(
        'cut',
        this.#backendError('ERR_PROXY_UPGRADE_IDLE_TIMEOUT', `and the client moved no byte for ${upgradeIdle} ms`),
      )
      this.destroy()
      return
    }
    if (this.status !== 0) {
      this.#end('cut', this.#backendError('ERR_PROXY_IDLE_TIMEOUT', `moved no byte of its answer for ${idle} ms`))
      this.destroy()
      return
    }
    this.#timeoutError = this.#isConnected
      ? this.#backendError('ERR_PROXY_HEADERS_TIMEOUT', `did not answer the upgrade within ${headers} ms`)
      : this.#backendError('ERR_PROXY_CONNECT_TIMEOUT', `did not accept a connection within ${connect} ms`)
    this.deadline = Number.POSITIVE_INFINITY
    this.#proxyReq?.destroy(this.#timeoutError)
  }

  #limit(ms: number): void {
    this.deadline = ms > 0 ? this.#parts.clock.now() + ms : Number.POSITIVE_INFINITY
  }

  #onClientClose(): void {
    this.#cancelRetry?.()
    this.#backendSocket?.destroy()
    this.#proxyReq?.destroy()
    if (this.status === 101) this.#end('upgraded', null)
    else
      this.#end(
        'aborted',
        new ProxyError('ERR_PROXY_CLIENT_GONE', 'the client closed the connection before the upgrade', {
          backend: this.backend,
        }),
      )
  }

  goAway(): void {
    if (this.status !== 101 || this.header('upgrade')?.toLowerCase() !== 'websocket') return
    this.#socket.write(CLOSE_1001)
    this.#backendSocket?.write(CLOSE_1001_MASKED)
  }

  destroy(): void {
    this.#socket.destroy()
    this.#backendSocket?.destroy()
    this.#proxyReq?.destroy()
  }

  #fail(error: ProxyError): void {
    const socket = this.#socket
    this.status = error.status
    this.#endAttempt('failed', error)
    this.#end(this.attempts > 0 ? 'failed' : 'local', error)
    const { headers, text } = localAnswer(error)
    socket.end(
      `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? 'Error'}\r\n${fieldsText(headers)}Connection: close\r\n\r\n${text}`,
      () => socket.destroySoon(),
    )
  }

  #endAttempt(kind: OutcomeKind, error: ProxyError | null): void {
    const { backend } = this
    if (backend === null || this.#attemptAt < 0) return
    const group = this.#group as Group
    const totalMs = this.#parts.clock.now() - this.#attemptAt
    const firstByteMs = this.firstByteMs < 0 ? -1 : this.firstByteMs - (this.#attemptAt - this.startedAt)
    const outcome: Outcome = { kind, status: this.status, error, firstByteMs, totalMs }
    this.#attemptAt = -1
    this.backendMs += totalMs
    backend.cells.addPending(-1)
    this.#guard(() => group.balancer.onEnd?.(backend, outcome))
    if (kind !== 'aborted') this.#guard(() => group.healthCheck?.observe(backend, outcome, group))
  }

  #end(kind: OutcomeKind, error: ProxyError | null): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#endAttempt(kind, error)
    this.#open.delete(this)
    this.#parts.deadlines.remove(this)
    this.#abort?.abort()
    recordExchange(this.#parts, this, kind, error)
  }

  #guard(call: () => unknown): void {
    try {
      call()
    } catch (error) {
      this.#parts.logger.error({ err: error }, `a policy of group ${this.group} threw: ${describeError(error)}`)
    }
  }

  #backendError(code: ConstructorParameters<typeof ProxyError>[0], what: string, cause?: unknown): ProxyError {
    return new ProxyError(code, `backend ${this.backend?.id} ${what}`, {
      cause,
      backend: this.backend,
      attempt: this.attempts,
      phase: 'upgrade',
    })
  }

  #hookError(whose: string, cause: unknown): ProxyError {
    return new ProxyError('ERR_PROXY_HOOK', `${whose} threw: ${describeError(cause)}`, { cause, backend: this.backend })
  }
}

/** A close frame with status 1001 "going away", as a server sends it and, masked with zeros, as a client does. */
const CLOSE_1001 = Buffer.from([0x88, 0x02, 0x03, 0xe9])
const CLOSE_1001_MASKED = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9])

/** Lower-case names, for http-proxy-3; repeated headers become lists, which node writes as separate lines. */
function headerObject(list: Readonly<HeaderList>): IncomingHttpHeaders {
  const headers: Record<string, string | string[]> = Object.create(null)
  for (let i = 0; i < list.length; i += 2) {
    const name = (list[i] as string).toLowerCase()
    const value = list[i + 1] as string
    const before = headers[name]
    headers[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  return headers
}
