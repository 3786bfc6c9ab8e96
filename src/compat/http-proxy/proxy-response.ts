import { Readable } from 'node:stream'
import type { Flow, HeaderList, ResponseHead } from '../../index.ts'
import type { OutgoingRequest } from './outgoing-request.ts'

/** node keeps the first of several lines with these names. */
const FIRST_ONLY = new Set([
  'age',
  'authorization',
  'content-length',
  'content-type',
  'etag',
  'expires',
  'from',
  'host',
  'if-modified-since',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'referer',
  'retry-after',
  'server',
  'user-agent',
])

export type ResponseHeaders = Record<string, string | string[] | undefined>

/**
 * The response of the target, as `proxyRes` listeners get it: the fields of node's `IncomingMessage`, and its body as a stream. What
 * a listener changes in `headers`, `statusCode` and `statusMessage` is what the client gets.
 */
export class ProxyResponse extends Readable {
  statusCode: number
  statusMessage: string
  readonly rawHeaders: Readonly<HeaderList>
  readonly httpVersion = '1.1'
  readonly httpVersionMajor = 1
  readonly httpVersionMinor = 1
  /** `null` if nobody listens to `proxyReq`. */
  readonly req: OutgoingRequest | null
  readonly socket = null
  rawTrailers: Readonly<HeaderList> = []
  /** The whole body has arrived. */
  complete = false
  aborted = false
  /** Somebody listens to its events, so it must deliver them. */
  isObserved = false
  /** As received, to find the changes. */
  #received: ResponseHeaders | null = null
  #headers: ResponseHeaders | null = null
  #trailers: ResponseHeaders | null = null
  readonly #flow: Flow
  #isFull = false

  constructor(head: ResponseHead, reason: string, flow: Flow, req: OutgoingRequest | null) {
    super()
    this.statusCode = head.status
    this.statusMessage = reason
    this.rawHeaders = head.headers
    this.#flow = flow
    this.req = req
  }

  /** By lower-case name; repeated lines are joined as node joins them. */
  get headers(): ResponseHeaders {
    if (this.#headers === null) {
      this.#received = headersOf(this.rawHeaders)
      this.#headers = headersOf(this.rawHeaders)
    }
    return this.#headers
  }

  set headers(headers: ResponseHeaders) {
    this.#received ??= headersOf(this.rawHeaders)
    this.#headers = headers
  }

  /** The headers that a listener has changed, by name in its spelling; `undefined`: removed. */
  get changedHeaders(): [name: string, value: string | string[] | undefined][] {
    const before = this.#received
    const after = this.#headers
    if (before === null || after === null) return []
    const removed = Object.keys(before).filter((name) => after[name] === undefined)
    const changed = Object.entries(after).filter(([name, value]) => value !== undefined && !isSame(value, before[name]))
    return [...removed.map((name): [string, undefined] => [name, undefined]), ...changed]
  }

  get trailers(): ResponseHeaders {
    this.#trailers ??= headersOf(this.rawTrailers)
    return this.#trailers
  }

  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    this.isObserved = true
    return super.on(event, listener as (...args: unknown[]) => void)
  }

  override addListener(event: string | symbol, listener: (...args: never[]) => void): this {
    return this.on(event, listener)
  }

  /** Delivers a piece of the body. @returns whether more may follow; otherwise the flow is resumed later. */
  deliver(chunk: Buffer): boolean {
    if (this.destroyed) return true
    this.#isFull = !this.push(chunk)
    return !this.#isFull
  }

  /** The body is complete. */
  finish(trailers: HeaderList | null): void {
    this.rawTrailers = trailers ?? []
    this.complete = true
    if (!this.destroyed) this.push(null)
  }

  /** The rest of the body will not come. */
  fail(error: Error): void {
    if (this.complete || this.destroyed) return
    this.aborted = true
    this.emit('aborted')
    // As with node's client, an error that nobody listens to is no exception.
    this.destroy(this.listenerCount('error') > 0 ? error : undefined)
  }

  setTimeout(): this {
    return this
  }

  override _read(): void {
    if (!this.#isFull) return
    this.#isFull = false
    this.#flow.resume()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    done(error)
    // The pool waits for somebody who does not read any more: the rest is dropped.
    this._read()
  }
}

function headersOf(list: Readonly<HeaderList>): ResponseHeaders {
  const headers: ResponseHeaders = {}
  for (let i = 0; i < list.length; i += 2) {
    const name = (list[i] as string).toLowerCase()
    const value = list[i + 1] as string
    const before = Object.hasOwn(headers, name) ? headers[name] : undefined
    if (name === 'set-cookie') headers[name] = before === undefined ? [value] : [...before, value]
    else if (before === undefined) headers[name] = value
    else if (!FIRST_ONLY.has(name)) headers[name] = `${before}${name === 'cookie' ? ';' : ','} ${value}`
  }
  return headers
}

function isSame(value: string | string[], before: string | string[] | undefined): boolean {
  if (!Array.isArray(value)) return value === before
  return Array.isArray(before) && before.length === value.length && value.every((one, i) => one === before[i])
}
