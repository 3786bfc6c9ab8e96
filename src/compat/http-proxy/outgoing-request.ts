import { EventEmitter } from 'node:events'
import { type IncomingMessage, validateHeaderName, validateHeaderValue } from 'node:http'
import type { Destination } from './target.ts'

/** A header as a listener or the options have set it; no value: removed. */
export interface HeaderEdit {
  readonly name: string
  readonly value: string | readonly string[] | undefined
}

/** By lower-case name. */
export type HeaderEdits = Map<string, HeaderEdit>

type HeaderValue = number | string | readonly string[]

/**
 * The request on its way to the target, as `proxyReq` and `proxyReqWs` listeners get it: the methods of node's `ClientRequest` that
 * make sense before anything is sent. Changes count until the listeners have returned; later ones of headers throw, and others have no
 * effect, except for `destroy()`, which ends the request at any time.
 */
export class OutgoingRequest extends EventEmitter {
  method: string
  /** Path and query, exactly as the target gets them. */
  path: string
  readonly protocol: string
  readonly host: string
  readonly reusedSocket = false
  readonly finished = false
  headersSent = false
  destroyed = false
  /** What `destroy()` was called with. */
  errored: Error | null = null
  /** Its body is complete: nothing of the client's follows. */
  writableEnded = false
  readonly #req: IncomingMessage
  readonly #edits: HeaderEdits
  /** A body in place of the client's. */
  #chunks: Buffer[] | null = null
  #onDestroyed: (() => void) | null = null

  /** @param edits what the options change; changes of the listeners are added to it. */
  constructor(req: IncomingMessage, destination: Destination, method: string, path: string, edits: HeaderEdits) {
    super()
    this.#req = req
    this.method = method
    this.path = path
    this.protocol = destination.isSecure ? 'https:' : 'http:'
    this.host = destination.hostname
    this.#edits = edits
  }

  /** The body that listeners have written, or `null`. */
  get body(): Buffer | null {
    return this.#chunks === null ? null : Buffer.concat(this.#chunks)
  }

  /** The listeners have returned. @param onDestroyed called if the request is destroyed from now on. */
  send(onDestroyed: () => void): void {
    this.headersSent = true
    this.#onDestroyed = onDestroyed
  }

  /** @throws Error as node's for an invalid header, and if the listeners have returned. */
  setHeader(name: string, value: HeaderValue): this {
    this.#assertOpen('set')
    validateHeaderName(name)
    const values = Array.isArray(value) ? value.map(String) : String(value)
    for (const one of typeof values === 'string' ? [values] : values) validateHeaderValue(name, one)
    this.#edits.set(name.toLowerCase(), { name, value: values })
    return this
  }

  setHeaders(headers: ReadonlyMap<string, HeaderValue> | Headers): this {
    for (const [name, value] of headers as Iterable<[string, HeaderValue]>) this.setHeader(name, value)
    return this
  }

  appendHeader(name: string, value: string | readonly string[]): this {
    const before = this.getHeader(name)
    const list = before === undefined ? [] : typeof before === 'string' ? [before] : before
    return this.setHeader(name, [...list, ...(typeof value === 'string' ? [value] : value)])
  }

  removeHeader(name: string): void {
    this.#assertOpen('remove')
    this.#edits.set(name.toLowerCase(), { name, value: undefined })
  }

  #assertOpen(what: string): void {
    if (!this.headersSent) return
    const message = `cannot ${what} headers of a request that has been sent; do so before the listener returns, or awaits`
    throw Object.assign(new Error(message), { code: 'ERR_HTTP_HEADERS_SENT' })
  }

  getHeader(name: string): string | readonly string[] | undefined {
    const lower = name.toLowerCase()
    const edit = this.#edits.get(lower)
    return edit === undefined ? this.#req.headers[lower] : edit.value
  }

  hasHeader(name: string): boolean {
    return this.getHeader(name) !== undefined
  }

  getHeaders(): Record<string, string | readonly string[]> {
    return Object.fromEntries(this.getHeaderNames().map((name) => [name, this.getHeader(name) ?? '']))
  }

  getHeaderNames(): string[] {
    const received = Object.keys(this.#req.headers).filter((name) => !name.startsWith(':'))
    return Array.from(new Set([...received, ...this.#edits.keys()])).filter((name) => this.hasHeader(name))
  }

  getRawHeaderNames(): string[] {
    return this.getHeaderNames().map((name) => this.#edits.get(name)?.name ?? name)
  }

  /** Sends this body in place of the client's. Its length need not be announced. */
  write(chunk: string | Uint8Array, ...rest: unknown[]): boolean {
    if (this.headersSent || this.writableEnded) return false
    const [encoding] = rest
    const bytes =
      typeof chunk === 'string'
        ? Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
        : Buffer.from(chunk)
    this.#chunks ??= []
    this.#chunks.push(bytes)
    callLast(rest)
    return true
  }

  /** The body is complete, with what was written; nothing written: no body. */
  end(...args: unknown[]): this {
    if (this.headersSent || this.writableEnded) return this
    this.#chunks ??= []
    const [chunk, ...rest] = args
    if (typeof chunk === 'string' || chunk instanceof Uint8Array) this.write(chunk, ...rest)
    else callLast(args)
    this.writableEnded = true
    return this
  }

  /** Ends the request, if its response has not come: a failure with `error`, or with ECONNRESET. */
  destroy(error?: Error): this {
    if (this.destroyed) return this
    this.destroyed = true
    this.errored = error ?? null
    this.#onDestroyed?.()
    return this
  }

  abort(): void {
    this.destroy()
  }

  get aborted(): boolean {
    return this.destroyed
  }

  /** Fails the request if no response has come after `ms`; calls `onTimeout` instead if given. */
  setTimeout(ms: number, onTimeout?: () => void): this {
    if (onTimeout !== undefined) this.once('timeout', onTimeout)
    const timer = setTimeout(() => {
      if (!this.emit('timeout')) this.destroy()
    }, ms)
    timer.unref()
    const stop = (): void => clearTimeout(timer)
    return this.once('response', stop).once('close', stop)
  }

  // Settings of a connection, which is the pool's:

  flushHeaders(): void {}
  setNoDelay(): void {}
  setSocketKeepAlive(): void {}
  cork(): void {}
  uncork(): void {}
}

function callLast(args: readonly unknown[]): void {
  const last = args.at(-1)
  if (typeof last === 'function') process.nextTick(last as () => void)
}
