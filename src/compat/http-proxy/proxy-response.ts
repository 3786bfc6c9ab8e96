import { STATUS_CODES } from 'node:http'
import { Readable } from 'node:stream'
import type { HeaderList } from '../../index.ts'
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
export type HeaderChange = readonly [name: string, value: string | string[] | undefined]

/** The way of a response's body to its readers. */
export interface Source {
  /** The listeners respond to the client. */
  readonly isTaken: boolean
  /** Somebody listens to the response: its body and end are delivered from now on. */
  onObserved(): void
  /** The readers have room again. */
  onReady(): void
}

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
  /** The connection is the pool's. */
  readonly socket = null
  rawTrailers: Readonly<HeaderList> = []
  /** The whole body has arrived. */
  complete = false
  aborted = false
  readonly #source: Source
  #headers: ResponseHeaders | null = null
  #trailers: ResponseHeaders | null = null
  #isObserved = false
  #isFull = false

  constructor(
    status: number,
    reason: string,
    headers: Readonly<HeaderList>,
    source: Source,
    req: OutgoingRequest | null,
  ) {
    super()
    this.statusCode = status
    this.statusMessage = reason === '' ? (STATUS_CODES[status] ?? '') : reason
    this.rawHeaders = headers
    this.#source = source
    this.req = req
  }

  /** By lower-case name; repeated lines are joined as node joins them. */
  get headers(): ResponseHeaders {
    this.#headers ??= headersOf(this.rawHeaders)
    return this.#headers
  }

  set headers(headers: ResponseHeaders) {
    this.#headers = headers
  }

  /** What listeners have changed in {@link headers}: the names as they write them, and `undefined` for a removed one. */
  get changedHeaders(): readonly HeaderChange[] {
    return this.#headers === null ? NONE : changesOf(this.#headers, this.rawHeaders)
  }

  get trailers(): ResponseHeaders {
    this.#trailers ??= headersOf(this.rawTrailers)
    return this.#trailers
  }

  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    super.on(event, listener as (...args: unknown[]) => void)
    if (!this.#isObserved) {
      this.#isObserved = true
      this.#source.onObserved()
    }
    return this
  }

  override addListener(event: string | symbol, listener: (...args: never[]) => void): this {
    return this.on(event, listener)
  }

  /** Delivers a piece of the body. @returns whether there is room for more; otherwise `onReady` follows. */
  deliver(chunk: Buffer): boolean {
    if (this.destroyed) return true
    this.#isFull = !this.push(chunk)
    return !this.#isFull
  }

  /** The listeners respond to the client. */
  get isTaken(): boolean {
    return this.#source.isTaken
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
    this.#source.onReady()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    done(error)
    // Nobody reads any more, and the rest is dropped.
    this._read()
  }
}

const NONE: readonly HeaderChange[] = []

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

/** Nearly all changes are none, or new headers: these are found without a copy of the old ones. */
function changesOf(headers: ResponseHeaders, list: Readonly<HeaderList>): readonly HeaderChange[] {
  const added: HeaderChange[] = []
  let i = 0
  for (const name of Object.keys(headers)) {
    const value = headers[name]
    if (i === list.length) added.push([name, value])
    else if (value === list[i + 1] && name === list[i]?.toLowerCase()) i += 2
    else return allChanges(headers, headersOf(list))
  }
  return i === list.length ? added : allChanges(headers, headersOf(list))
}

function allChanges(after: ResponseHeaders, before: ResponseHeaders): HeaderChange[] {
  const removed = Object.keys(before).filter((name) => after[name] === undefined)
  const changed = Object.entries(after).filter(([name, value]) => value !== undefined && !isSame(value, before[name]))
  return [...removed.map((name): HeaderChange => [name, undefined]), ...changed]
}

function isSame(value: string | string[], before: string | string[] | undefined): boolean {
  if (!Array.isArray(value)) return value === before
  return Array.isArray(before) && before.length === value.length && value.every((one, i) => one === before[i])
}
