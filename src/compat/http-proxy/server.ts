/*
 * The ProxyServer of http-proxy, http-proxy-3 and httpxy on heddle's engine. Stable, and what other rooms may build on:
 * `new ProxyServer(options)`, which is an EventEmitter with the events of `ProxyServerEvents`; `web(req, res, options?, callback?)` and
 * `ws(req, socket, head, options?, callback?)`, which never throw and return a promise that resolves when the call has ended, or its
 * failure was told to the callback or to `error` listeners, and rejects only if there are none.
 */
import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { consoleLogger, type Logger } from '../../index.ts'
import { type CallArguments, readArguments } from './arguments.ts'
import type { Call, Given, Listeners, Owner } from './call.ts'
import { Delegate } from './delegate.ts'
import { Engines } from './engines.ts'
import { createServer } from './listen.ts'
import { insertPass, type Pass, WEB_PASSES, WS_PASSES } from './passes.ts'
import { ProxyResponse } from './proxy-response.ts'
import { respondWith } from './respond.ts'
import { Targets } from './target.ts'
import type { ErrorCallback, NormalizedServerOptions, ProxyServerEvents, ServerOptions } from './types.ts'
import { unheardTo } from './unheard.ts'
import { WebCall } from './web-call.ts'
import { WsCall } from './ws-call.ts'

type Client = ServerResponse | Duplex

/** Options and callback of a call, in the order of any of the three packages. */
type Rest<Request extends typeof IncomingMessage, Response extends typeof ServerResponse, Failure> = (
  | ServerOptions
  | ErrorCallback<Request, Response, Failure>
  | Buffer
  | undefined
)[]

/**
 * The proxy server of http-proxy, http-proxy-3 and httpxy. Connections to targets are kept alive; call {@link ProxyServer.close} to
 * close idle ones at once.
 */
export class ProxyServer<
  Request extends typeof IncomingMessage = typeof IncomingMessage,
  Response extends typeof ServerResponse = typeof ServerResponse,
  Failure = Error,
> extends EventEmitter<ProxyServerEvents<Request, Response, Failure>> {
  readonly options: ServerOptions
  readonly #owner: Owner
  readonly #webPasses: Pass<ServerResponse, this>[]
  readonly #wsPasses: Pass<Duplex, this>[]
  /** The call whose passes are running. */
  #running: WebCall | WsCall | null = null
  /** The server of {@link listen}; the originals have it under this name. */
  _server: Server | undefined

  constructor(options: ServerOptions = {}) {
    // A listener that rejects must not end the process.
    super({ captureRejections: true })
    this.options = options
    const logger = options.logger ?? consoleLogger({ level: 'error' })
    const stream = (): void => this.#running?.carry()
    this.#owner = ownerOf(this as unknown as EventEmitter, logger)
    this.#webPasses = [...Object.values(WEB_PASSES), stream]
    this.#wsPasses = [...Object.values(WS_PASSES), stream]
  }

  static createProxyServer(options?: ServerOptions): ProxyServer {
    return new ProxyServer(options)
  }

  static createServer(options?: ServerOptions): ProxyServer {
    return new ProxyServer(options)
  }

  static createProxy(options?: ServerOptions): ProxyServer {
    return new ProxyServer(options)
  }

  /** A listener has rejected. If nobody else responds to its request, we do. */
  override [EventEmitter.captureRejectionSymbol](error: Error, event: unknown, ...args: unknown[]): void {
    this.#owner.logger.error({ err: error }, `a listener of '${String(event)}' rejected`)
    const isTheirs = args.some((one) => one instanceof ProxyResponse && one.isTaken)
    for (const one of args) if (isResponse(one) && (isTheirs || !one.headersSent)) respondWith(one, error, 500)
  }

  /**
   * Carries a request: `(req, res[, options][, callback])`. The options override those of the server. The callback hears of a failure
   * in place of the `error` listeners. Bound; never throws.
   */
  readonly web = (
    req: InstanceType<Request>,
    res: InstanceType<Response>,
    ...rest: Rest<Request, Response, Failure>
  ): Promise<void> => {
    const args = readArguments(rest)
    return this.#run(req, res as ServerResponse, args, this.#webPasses, (given) => new WebCall(this.#owner, given))
  }

  /** Carries a WebSocket: `(req, socket, head[, options][, callback])`, or httpxy's `(req, socket, options, head)`. Bound; never throws. */
  readonly ws = (
    req: InstanceType<Request>,
    socket: Duplex,
    ...rest: Rest<Request, Response, Failure>
  ): Promise<void> => {
    const args = readArguments(rest)
    const head = args.head ?? Buffer.alloc(0)
    return this.#run(req, socket, args, this.#wsPasses, (given) => new WsCall(this.#owner, given, head))
  }

  #run<C extends Client>(
    req: IncomingMessage,
    res: C,
    { head, options: own, callback }: CallArguments,
    passes: readonly Pass<C, this>[],
    create: (given: Given<C>) => (WebCall | WsCall) & Call<C>,
  ): Promise<void> {
    const options = { ...this.options, ...own } as NormalizedServerOptions
    let call: ((WebCall | WsCall) & Call<C>) | null = null
    try {
      call = create({ req, res, options, callback: callback as Given<C>['callback'] })
      normalize(options, req, this.#owner.targets)
      for (const pass of passes) {
        this.#running = call
        if (!pass(req, res, options, head, this, callback)) continue
        call.settle()
        break
      }
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown))
      if (call === null) return this.#refuse(error)
      call.fail(error, 500)
    } finally {
      this.#running = null
    }
    return call.ended
  }

  /** What was given is no request, or no connection. */
  #refuse(error: Error): Promise<void> {
    this.#owner.logger.error({ err: error }, `a call was not for a request of a server: ${error.message}`)
    const rejected = Promise.reject(error)
    // For those who do not wait for it it is no unhandled rejection.
    rejected.catch(() => {})
    return rejected
  }

  /** Serves a port: requests, and with the option `ws` WebSockets. */
  readonly listen = (port: number, hostname?: string, onListening?: () => void): this => {
    this._server = createServer(this.options, this as never)
    this._server.listen(port, hostname, onListening)
    return this
  }

  readonly address = (): string | AddressInfo | null | undefined => this._server?.address()

  /** Stops listening, and closes idle connections to targets. @param callback called when the last request has ended. */
  readonly close = (callback?: (error?: Error) => void): void => {
    this.#owner.engines.close()
    if (this._server === undefined) return callback?.()
    this._server.close((error) => {
      this._server = undefined
      this.#owner.engines.close()
      callback?.(error)
    })
  }

  /**
   * Inserts a pass before the one that is named: for `web` before `deleteLength`, `timeout`, `XHeaders` or `stream`, for `ws` before
   * `checkMethodAndHeader`, `XHeaders` or `stream`. @throws Error for another type or name.
   */
  readonly before = <Type extends 'web' | 'ws'>(type: Type, passName: string, pass: PassOf<Type, this>): void => {
    if (type !== 'ws' && type !== 'web') throw new Error('type must be `web` or `ws`')
    insertPass(type === 'ws' ? this.#wsPasses : this.#webPasses, passName, pass)
  }

  /** The same as {@link before}, as in http-proxy. */
  readonly after = <Type extends 'web' | 'ws'>(type: Type, passName: string, pass: PassOf<Type, this>): void =>
    this.before(type, passName, pass)
}

type PassOf<Type extends 'web' | 'ws', Server> = Type extends 'ws' ? Pass<Socket, Server> : Pass<ServerResponse, Server>

function ownerOf(server: EventEmitter, logger: Logger): Owner {
  const listeners: Listeners = {
    logger,
    listenerCount: (event) => server.listenerCount(event),
    emit: (event, ...args) => server.emit(event, ...args),
    notify(event, ...args) {
      try {
        server.emit(event, ...args)
      } catch (thrown) {
        logger.error({ err: thrown }, `a listener of '${event}' threw`)
      }
    },
  }
  return {
    ...listeners,
    unheard: unheardTo(logger),
    targets: new Targets(),
    engines: new Engines(logger),
    delegate: new Delegate(listeners),
  }
}

/** A path that has lost its first slash, to a rewrite of the application. */
const RELATIVE = /^(?![/?*]|[a-z][a-z\d+.-]*:\/\/)./i

/** Calls a function for the target, and parses URLs. @throws the error of either, or an Error if there is no target. */
function normalize(options: NormalizedServerOptions, req: IncomingMessage, targets: Targets): void {
  if (RELATIVE.test(req.url ?? '')) req.url = `/${req.url}`
  const { target, forward } = options as ServerOptions
  if (target !== undefined && target !== null) {
    options.target = targets.parse(typeof target === 'function' ? target(req) : target)
  }
  if (forward !== undefined && forward !== null) options.forward = targets.parse(forward)
  if (!options.target && !options.forward) throw new Error('Must set target or forward')
}

/** Of HTTP/1.1 or of HTTP/2. */
function isResponse(value: unknown): value is ServerResponse {
  return typeof (value as Partial<ServerResponse> | null)?.writeHead === 'function'
}
