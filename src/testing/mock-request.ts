import type net from 'node:net'
import type { HeaderList } from '../model/exchange-view.ts'
import { all, find } from './mock-headers.ts'
import type { MockRequest } from './mock-script.ts'

/** A {@link MockRequest} that is being received. */
export class Recorded implements MockRequest {
  readonly connection: number
  readonly method: string
  readonly path: string
  readonly version: string
  readonly rawHead: string
  readonly headers: HeaderList
  readonly body: () => Promise<Buffer>
  trailers: HeaderList | null = null
  isComplete = false
  /** Why it will never be complete. */
  loss: Error | null = null
  readonly #socket: net.Socket
  readonly #body: Buffer[] = []
  readonly #wire: Buffer[] = []
  #settle: (() => void) | null = null

  constructor(connection: number, socket: net.Socket, rawHead: string, line: RegExpExecArray, headers: HeaderList) {
    this.connection = connection
    this.#socket = socket
    this.rawHead = rawHead
    this.method = line[1] as string
    this.path = line[2] as string
    this.version = line[3] as string
    this.headers = headers
    const settled = new Promise<void>((resolve) => {
      this.#settle = resolve
    })
    this.body = async () => {
      await settled
      if (this.loss !== null) throw this.loss
      return this.bodyBytes
    }
  }

  get bodyBytes(): Buffer {
    return Buffer.concat(this.#body)
  }
  get bodyText(): string {
    return this.bodyBytes.toString()
  }
  get wireBytes(): Buffer {
    return Buffer.concat(this.#wire)
  }
  get expectsContinue(): boolean {
    return /^100-continue$/i.test(this.header('expect') ?? '')
  }

  header(name: string): string | undefined {
    return find(this.headers, name)
  }
  pause(): void {
    this.#socket.pause()
  }
  resume(): void {
    this.#socket.resume()
  }

  addWire(bytes: Buffer): void {
    this.#wire.push(bytes)
  }
  addBody(bytes: Buffer): void {
    this.#body.push(bytes)
  }
  complete(): void {
    this.isComplete = true
    this.#settle?.()
  }
  lose(): void {
    if (this.isComplete) return
    this.loss = new Error(`the connection ended in the middle of the body of ${this.method} ${this.path}`)
    this.#settle?.()
  }
}

interface ReaderEvents {
  onHead(request: Recorded): void
  onComplete(request: Recorded): void
}

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP\/(1\.[01])$/
const FIELD_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/
const LAST_CRLF_BYTES = 2

/** Parses the requests of one connection. It is simple rather than fast, and strict, so as to detect errors of a proxy. */
export class RequestReader {
  readonly #connection: number
  readonly #socket: net.Socket
  readonly #events: ReaderEvents
  #rest: Buffer = Buffer.alloc(0)
  #state: 'head' | 'length' | 'size' | 'chunk' | 'chunk-end' | 'trailers' | 'failed' = 'head'
  #left = 0
  #request: Recorded | null = null
  #fault: string | null = null

  constructor(connection: number, socket: net.Socket, events: ReaderEvents) {
    this.#connection = connection
    this.#socket = socket
    this.#events = events
  }

  get isBetweenRequests(): boolean {
    return this.#state === 'head' && this.#rest.length === 0
  }

  /** @returns the fault in the bytes, once, or `null`. */
  read(bytes: Buffer): string | null {
    if (this.#state === 'failed') return null
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    while (this.#fault === null && this.#rest.length > 0 && this.#step());
    if (this.#fault !== null) this.#state = 'failed'
    return this.#fault
  }

  /** The connection has ended. */
  abandon(): void {
    this.#request?.lose()
  }

  /** Takes the bytes that do not belong to a request yet. */
  takeRest(): Buffer {
    const rest = this.#rest
    this.#rest = Buffer.alloc(0)
    return rest
  }

  /** @returns whether it made progress. */
  #step(): boolean {
    switch (this.#state) {
      case 'head':
        return this.#readHead()
      case 'length':
      case 'chunk': {
        const piece = this.#take(Math.min(this.#left, this.#rest.length))
        this.#request?.addBody(piece)
        this.#left -= piece.length
        if (this.#left > 0) return true
        if (this.#state === 'chunk') this.#state = 'chunk-end'
        else this.#complete()
        return true
      }
      case 'size': {
        const line = this.#takeThrough('\r\n')
        if (line === null) return false
        const size = /^([0-9a-f]{1,8})(?:;.*)?\r\n$/i.exec(line)?.[1]
        if (size === undefined) return this.#fail(`a malformed chunk size ${JSON.stringify(line)}`)
        this.#left = Number.parseInt(size, 16)
        this.#state = this.#left === 0 ? 'trailers' : 'chunk'
        return true
      }
      case 'chunk-end': {
        if (this.#rest.length < LAST_CRLF_BYTES) return false
        if (this.#take(LAST_CRLF_BYTES).toString('latin1') !== '\r\n') return this.#fail('a chunk not ended by CRLF')
        this.#state = 'size'
        return true
      }
      case 'trailers':
        return this.#readTrailers()
      default:
        return false
    }
  }

  #readHead(): boolean {
    const end = this.#rest.indexOf('\r\n\r\n')
    if (end < 0) return false
    const rawHead = this.#rest.toString('latin1', 0, end + 4)
    this.#rest = this.#rest.subarray(end + 4)
    const [first = '', ...lines] = rawHead.slice(0, -4).split('\r\n')
    const line = REQUEST_LINE.exec(first)
    if (line === null) return this.#fail(`a malformed request line ${JSON.stringify(first)}`)
    const headers = this.#fields(lines)
    if (headers === null) return false
    const lengths = all(headers, 'content-length')
    const coding = all(headers, 'transfer-encoding').join(', ')
    const length = lengths[0] ?? '0'
    if (coding !== '' && coding.toLowerCase() !== 'chunked') return this.#fail(`an unknown transfer coding ${coding}`)
    if (coding !== '' && lengths.length > 0) return this.#fail('both Content-Length and Transfer-Encoding')
    if (lengths.length > 1 || !/^\d+$/.test(length)) return this.#fail(`a wrong Content-Length ${lengths.join(', ')}`)
    const request = new Recorded(this.#connection, this.#socket, rawHead, line, headers)
    this.#request = request
    this.#left = Number(length)
    this.#state = coding !== '' ? 'size' : 'length'
    this.#events.onHead(request)
    if (coding === '' && this.#left === 0) this.#complete()
    return true
  }

  #readTrailers(): boolean {
    // An empty line ends the trailers. Without trailers it comes at once.
    const isEmpty = this.#rest.length >= LAST_CRLF_BYTES && this.#rest.toString('latin1', 0, 2) === '\r\n'
    const text = this.#takeThrough(isEmpty ? '\r\n' : '\r\n\r\n')
    if (text === null) return false
    if (!isEmpty) {
      const trailers = this.#fields(text.slice(0, -4).split('\r\n'))
      if (trailers === null) return false
      if (this.#request !== null) this.#request.trailers = trailers
    }
    this.#complete()
    return true
  }

  #complete(): void {
    const request = this.#request
    this.#request = null
    this.#state = 'head'
    if (request === null) return
    request.complete()
    this.#events.onComplete(request)
  }

  /** Takes body bytes off the front. */
  #take(length: number): Buffer {
    const piece = this.#rest.subarray(0, length)
    this.#rest = this.#rest.subarray(length)
    this.#request?.addWire(piece)
    return piece
  }

  #takeThrough(mark: string): string | null {
    const at = this.#rest.indexOf(mark, 0, 'latin1')
    return at < 0 ? null : this.#take(at + mark.length).toString('latin1')
  }

  #fields(lines: readonly string[]): HeaderList | null {
    const list: HeaderList = []
    for (const line of lines) {
      const field = FIELD_LINE.exec(line)
      if (field === null || /[\0\r\n]/.test(line)) {
        this.#fail(`a malformed header line ${JSON.stringify(line)}`)
        return null
      }
      list.push(field[1] as string, field[2] as string)
    }
    return list
  }

  #fail(fault: string): false {
    this.#fault = fault
    return false
  }
}
