import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { BodySource, Flow, Lease, ResponseSink, SetupTimes } from '../../contracts/pool.ts'
import { fieldValues } from '../../http1/fields.ts'
import type { ResponseBounds } from '../../http1/response-parser.ts'
import type { Backend } from '../../model/backend.ts'
import { isShortage, type Phase, ProxyError, type ProxyErrorCode } from '../../model/errors.ts'
import type { RequestHead } from '../../model/message.ts'
import type { Clock } from '../../runtime/clock.ts'
import { type Timed, UNWATCHED } from '../../runtime/deadlines.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { dial } from '../dial.ts'
import { isHiddenReset } from '../hidden-reset.ts'
import type { Carrier } from '../settings.ts'
import { createHeadCheck } from './handshake.ts'

/** The pool that owns a connection; the connection calls it. */
export interface UpgradeOwner {
  onConnected(connection: UpgradeConnection): void
  /** It could not be set up. */
  onConnectFailed(connection: UpgradeConnection, error: ProxyError): void
  /** Its lease is over. */
  onSpent(connection: UpgradeConnection): void
  /** It is closed; also after {@link onConnectFailed}. */
  onClosed(connection: UpgradeConnection): void
}

/** A connection to a backend for one request that asks for an upgrade: the handshake, and then a stream, or an ordinary response. */
export class UpgradeConnection implements Lease, Flow, Timed {
  readonly backend: Backend
  readonly isReused = false
  /** When to give up connecting. */
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  setup: SetupTimes | null = null
  readonly #owner: UpgradeOwner
  readonly #bounds: ResponseBounds
  readonly #carry: Carrier
  #socket!: Socket
  #isLeased = false
  /** The connection did not end in order. */
  #isReset = false
  #request: ClientRequest | null = null
  #response: IncomingMessage | null = null
  #sink: ResponseSink | null = null
  #failure: ProxyError | null = null
  #requestError: Error | undefined
  /** Reads along with node's client, and returns the first thing that is not strictly HTTP. */
  #faultOf: (bytes: Buffer) => string | null = () => null
  readonly #onBytes = (bytes: Buffer): void => {
    const fault = this.#faultOf(bytes)
    if (fault !== null) this.#fail('ERR_PROXY_BAD_RESPONSE', `sent ${fault}`)
  }

  constructor(
    backend: Backend,
    client: string,
    owner: UpgradeOwner,
    settings: ResponseBounds & { readonly clock: Clock; readonly carry: Carrier },
  ) {
    this.backend = backend
    this.#owner = owner
    this.#bounds = settings
    this.#carry = settings.carry
    dial(backend, settings.clock, {
      allowHalfOpen: true,
      protocols: ['http/1.1'],
      client,
      leftMs: () => (this.#failure === null ? this.deadline - settings.clock.now() : -1),
      onSocket: (socket) => this.#attach(socket),
      onConnected: (setup) => {
        this.setup = setup
        this.deadline = Number.POSITIVE_INFINITY
        owner.onConnected(this)
      },
      onSetupFailed: (error) => this.#failWith(error),
    })
  }

  #attach(socket: Socket): void {
    this.#socket = socket
    // Before node's own listeners, which take both for the end of a body that ends with the connection.
    socket
      .on('error', () => {
        this.#isReset = true
      })
      .on('end', () => {
        this.#isReset ||= isHiddenReset(socket, this.backend)
      })
    socket.on('close', () => {
      if (socket !== this.#socket) return
      if (this.setup === null) this.#fail('ERR_PROXY_CONNECT', 'closed the connection while it was being set up')
      if (this.#response === null) this.#lost()
      this.#owner.onClosed(this)
    })
  }

  lease(): this {
    this.#isLeased = true
    return this
  }

  send(head: RequestHead, _body: BodySource | null, sink: ResponseSink): void {
    this.#sink = sink
    if (this.#failure !== null || this.#socket.destroyed) {
      // It died between the lease and now. Reported as an error on the wire would be: not from within this call.
      this.#failure ??= this.#error(
        'ERR_PROXY_RESET',
        'closed the connection before it had the request',
        null,
        'acquire',
      )
      process.nextTick(() => this.#report())
      return
    }
    this.#faultOf = createHeadCheck(head.method, this.#bounds)
    const request = this.#carry(head, this.#socket, this.#bounds)
    this.#request = request
    // Before node's own listener, which emits the response.
    request.on('socket', (socket) => socket.prependListener('data', this.#onBytes))
    request.on('error', (error) => this.#onRequestError(error))
    request.on('upgrade', (response, socket: Socket, rest: Buffer) => this.#onUpgrade(head, response, socket, rest))
    request.on('response', (response) => {
      // A 101 that does not name a protocol.
      if (response.statusCode === 101) this.#onWrongProtocol(head, '')
      else this.#onResponse(head, response)
    })
  }

  #onUpgrade(head: RequestHead, response: IncomingMessage, socket: Socket, rest: Buffer): void {
    const sink = this.#sink
    if (sink === null) return void socket.destroy()
    const { rawHeaders, statusMessage = '' } = response
    const given = fieldValues(rawHeaders, 'upgrade').join(', ')
    const named = protocolsIn(given)
    const asked = new Set(protocolsIn(head.upgrade ?? ''))
    if (named.length === 0 || named.some((protocol) => !asked.has(protocol))) {
      return this.#onWrongProtocol(head, given)
    }
    this.#sink = null
    socket.off('data', this.#onBytes)
    sink.onUpgrade({ status: 101, reason: statusMessage, headers: rawHeaders, bodyBytes: 0 }, socket, rest)
  }

  #onWrongProtocol({ upgrade }: RequestHead, named: string): void {
    this.#fail('ERR_PROXY_UPGRADE', `switched to ${JSON.stringify(named)}, when asked for ${upgrade}`)
  }

  /** The backend does not switch. */
  #onResponse({ method }: RequestHead, response: IncomingMessage): void {
    const sink = this.#sink
    if (sink === null) return
    const { statusCode: status = 0, statusMessage: reason = '', rawHeaders: headers } = response
    this.#response = response
    const bodyBytes = bodyBytesOf(method, response)
    sink.onHead({ status, reason, headers, bodyBytes }, this)
    response.on('error', ignore)
    response.on('data', (chunk: Buffer) => {
      if (this.#sink?.onData(chunk) === false) response.pause()
      this.#sink?.onFlush()
    })
    const endsWithConnection = bodyBytes < 0 && response.headers['transfer-encoding'] === undefined
    response.on('end', () => {
      if (endsWithConnection && this.#isReset) return this.#lost()
      const last = this.#sink
      this.#sink = null
      last?.onEnd(response.rawTrailers.length === 0 ? null : response.rawTrailers)
    })
    // Not when the connection closes: a slow client may still have to take the bytes that came before that.
    response.on('close', () => {
      if (!response.complete) this.#lost()
    })
    this.#sink?.onFlush()
  }

  resume(): void {
    this.#response?.resume()
  }

  /** Nothing to do: each chunk has its own memory. */
  retain(): void {}

  release(): void {
    if (!this.#isLeased) return
    this.#isLeased = false
    this.#sink = null
    this.#owner.onSpent(this)
  }

  destroy(): void {
    this.#failure ??= this.#error('ERR_PROXY_CLOSED', 'was disconnected: the proxy or its pool was closed')
    this.#report()
    this.#request?.destroy()
    // node treats a request as destroyed when its response has come, but its socket may be open.
    this.#socket.destroy()
  }

  onDeadline(): void {
    this.#fail('ERR_PROXY_CONNECT_TIMEOUT', 'did not accept a connection in time')
  }

  #onRequestError(error: NodeJS.ErrnoException): void {
    this.#requestError = error
    if (this.#response !== null) return
    if (error.code?.startsWith('HPE_') !== true) return this.#lost()
    this.#fail('ERR_PROXY_BAD_RESPONSE', `sent what is not HTTP: ${describeError(error)}`, error)
  }

  #lost(): void {
    const cause = this.#requestError
    const detail = cause === undefined ? '' : `: ${describeError(cause)}`
    if (this.#response !== null)
      this.#fail('ERR_PROXY_TRUNCATED', `closed the connection in the middle of the response${detail}`, cause)
    else this.#fail('ERR_PROXY_RESET', `closed the connection before it responded${detail}`, cause)
  }

  #fail(code: ProxyErrorCode, what: string, cause?: unknown): void {
    this.#failWith(this.#failure ?? this.#error(code, what, cause))
  }

  #failWith(error: ProxyError): void {
    if (this.#failure === null) {
      this.#failure = error
      if (this.setup === null) this.#owner.onConnectFailed(this, error)
    }
    this.#report()
    this.#request?.destroy()
    this.#socket.destroy()
  }

  #report(): void {
    const sink = this.#sink
    if (sink === null || this.#failure === null) return
    this.#sink = null
    sink.onError(this.#failure)
  }

  #error(code: ProxyErrorCode, what: string, cause?: unknown, phase: Phase = 'upgrade'): ProxyError {
    return new ProxyError(code, `backend ${this.backend.id} ${what}`, {
      cause: cause ?? undefined,
      backend: this.backend,
      phase,
      ...(isShortage(cause) && { blamesBackend: false }),
    })
  }
}

function ignore(): void {}

function protocolsIn(list: string): string[] {
  return list
    .split(',')
    .map((protocol) => protocol.trim().toLowerCase())
    .filter((protocol) => protocol !== '')
}

function bodyBytesOf(method: string, { statusCode, headers }: IncomingMessage): number {
  if (method === 'HEAD' || statusCode === 204 || statusCode === 304) return 0
  return headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? -1) : -1
}
