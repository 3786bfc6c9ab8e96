import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Logger, ProxyError } from '../../index.ts'
import type { Delegate } from './delegate.ts'
import type { Engines } from './engines.ts'
import { hangUp, nodeError } from './node-errors.ts'
import { type HeaderEdits, OutgoingRequest } from './outgoing-request.ts'
import { backendOf, sentPath, wholePath } from './path.ts'
import { optionEdits } from './request-headers.ts'
import type { Destination, Targets } from './target.ts'
import type { NormalizedServerOptions, ProxyTargetUrl } from './types.ts'
import type { Unheard } from './unheard.ts'

/** The listeners of a `ProxyServer`, and where faults go that they do not hear of. */
export interface Listeners {
  readonly logger: Logger
  listenerCount(event: string): number
  /** Throws what a listener throws. */
  emit(event: string, ...args: unknown[]): boolean
  /** The same for events that change nothing: what a listener throws is logged. */
  notify(event: string, ...args: unknown[]): void
}

/** What a call needs of its `ProxyServer`. */
export interface Owner extends Listeners {
  readonly unheard: Unheard
  readonly targets: Targets
  readonly engines: Engines
  readonly delegate: Delegate
}

/** Where `web()` and `ws()` were called, and who hears of failures. */
export interface Given<Client extends ServerResponse | Duplex> {
  readonly req: IncomingMessage
  readonly res: Client
  readonly options: NormalizedServerOptions
  readonly callback: ((error: Error, req: IncomingMessage, res: Client, target?: ProxyTargetUrl) => unknown) | undefined
}

/** What is sent for a call. */
export interface Outgoing {
  readonly target: Destination
  readonly backend: ReturnType<typeof backendOf>
  readonly path: string | undefined
  readonly method: string | undefined
  readonly hostHeader: 'client' | 'backend'
}

/** One call of `web()` or `ws()`, from its options to its end. */
export abstract class Call<Client extends ServerResponse | Duplex> {
  readonly req: IncomingMessage
  readonly res: Client
  readonly options: NormalizedServerOptions
  /** Resolves when the call has ended, or its failure is with the application. Rejects with a failure that nobody else hears of. */
  readonly ended: Promise<void>
  edits: HeaderEdits | null = null
  proxyReq: OutgoingRequest | null = null
  targetHost = ''
  protected readonly owner: Owner
  protected hasFailed = false
  #isOver = false
  readonly #callback: Given<Client>['callback']
  #resolve!: () => void
  #reject!: (error: Error) => void

  constructor(owner: Owner, { req, res, options, callback }: Given<Client>) {
    this.owner = owner
    this.req = req
    this.res = res
    this.options = options
    this.#callback = callback
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (isClosed(res)) this.settle()
    else
      res.on?.('close', () => {
        this.onClosed()
        this.settle()
      })
  }

  get clientHost(): string {
    return String(this.req.headers[':authority'] ?? this.req.headers.host ?? '')
  }

  protected get target(): ProxyTargetUrl | undefined {
    return this.options.target ?? this.options.forward
  }

  settle(): void {
    this.#resolve()
  }

  /** The client's side is closed. */
  protected onClosed(): void {
    this.#isOver = true
    this.#tellRequest('close')
  }

  /**
   * Decides what is sent, with the listeners of `event`.
   * @param carried the request as the engine gets it.
   * @returns `null` if they have ended the request.
   */
  protected prepare(
    event: 'proxyReq' | 'proxyReqWs',
    more: readonly unknown[],
    carried: IncomingMessage = this.req,
  ): Outgoing | null {
    const { req, res, options, owner } = this
    const { url = '/' } = req
    const target = owner.targets.read(options.target as NonNullable<typeof options.target>, options)
    this.targetHost = target.host
    let edits = optionEdits(carried, options, target)
    let { base, path } = sentPath(target, options, url)
    let { method } = options
    if (owner.listenerCount(event) > 0) {
      edits ??= new Map()
      if (options.changeOrigin === true) edits.set('host', { name: 'Host', value: target.host })
      const whole = wholePath(target, { base, path }, url)
      const asked = method ?? req.method ?? 'GET'
      const proxyReq = new OutgoingRequest(carried, target, asked, whole, edits)
      this.proxyReq = proxyReq
      owner.emit(event, proxyReq, req, res, options, ...more)
      if (proxyReq.destroyed) {
        this.fail(proxyReq.errored ?? hangUp())
        return null
      }
      proxyReq.send(() => {
        if (!this.#isOver) this.onDestroyed(proxyReq.errored ?? hangUp())
      })
      if (proxyReq.path !== whole) [base, path] = [target.origin, proxyReq.path]
      if (proxyReq.method !== asked) method = proxyReq.method
    }
    this.edits = edits === null || edits.size === 0 ? null : edits
    const showsTarget = options.changeOrigin === true && edits?.has('host') !== true
    return { target, backend: backendOf(base, target), path, method, hostHeader: showsTarget ? 'backend' : 'client' }
  }

  /** The application has destroyed a request that was sent already. */
  protected onDestroyed(error: Error): void {
    this.fail(error)
  }

  /** The engine leaves a failure to us, before any of a response was sent. */
  readonly onError = (error: ProxyError): void => {
    if (error.side === 'client') {
      // Nothing that concerns the target: the client has sent what cannot be passed on.
      this.respond(error, error.status)
      this.settle()
    } else this.fail(this.proxyReq?.errored ?? nodeError(error), error.status)
  }

  /** An exchange of ours has failed in the engine; {@link onError} may follow. */
  abstract onEngineError(error: ProxyError): void

  /** Tells whoever listens of a failure. If nobody does, logs it and responds. */
  fail(error: Error, status = 502, target = this.target): void {
    if (this.hasFailed) return
    this.hasFailed = true
    this.#tellRequest('error', error)
    if (this.tell(error, target)) return this.settle()
    this.owner.unheard("a request failed, and nobody listens to 'error'", error)
    this.#reject(error)
    // Only who waits for the promise hears of it; for all others it is no unhandled rejection.
    this.ended.catch(ignore)
    // Whoever does may respond first.
    setImmediate(() => this.respond(error, status))
  }

  /** Tells the listeners to `proxyReq` itself. */
  #tellRequest(event: 'close' | 'error', ...args: readonly Error[]): void {
    try {
      if (this.proxyReq !== null && this.proxyReq.listenerCount(event) > 0) this.proxyReq.emit(event, ...args)
    } catch (thrown) {
      this.owner.logger.error({ err: thrown }, `a listener of '${event}' of proxyReq threw`)
    }
  }

  /** @returns whether anybody has heard of it. */
  protected tell(error: Error, target: ProxyTargetUrl | undefined): boolean {
    const { req, res, owner } = this
    const callback = this.#callback
    if (callback === undefined && owner.listenerCount('error') === 0) return false
    const onThrew = (thrown: unknown): void => {
      owner.logger.error({ err: thrown }, 'the application threw when it was told of a failure')
      this.respond(error, 502)
    }
    try {
      if (callback === undefined) owner.emit('error', error, req, res, target)
      else {
        const returned = callback(error, req, res, target)
        if (returned instanceof Promise) returned.catch(onThrew)
      }
    } catch (thrown) {
      onThrew(thrown)
    }
    return true
  }

  /** Ends the client's side with a response of our own, or without one if another has begun. */
  protected abstract respond(error: Error, status: number): void
}

/** It has emitted 'close'. A response of HTTP/2 does not say so. */
function isClosed(res: { readonly closed?: boolean; readonly stream?: Duplex }): boolean {
  return res.closed === true || res.stream?.destroyed === true
}

function ignore(): void {}
