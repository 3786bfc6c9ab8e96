import { STATUS_CODES } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import tls from 'node:tls'
import { reset } from '../fronts/tcp.ts'
import type { HeaderList } from '../model/exchange.ts'

/** Headers of an answer: a flat list, or a record where the order is of no interest. */
export type MockHeaders = Readonly<HeaderList> | Readonly<Record<string, string | readonly string[]>>

/** The head of an answer. Framing is added where the headers have none. */
export interface MockHead {
  /** Default 200. */
  readonly status?: number
  /** Default: the usual phrase of the status. */
  readonly reason?: string
  /** A `Content-Length` or `Transfer-Encoding` among them is sent as given, right or wrong. `Connection: close` is obeyed. */
  readonly headers?: MockHeaders
  /** Delimit the body by the end of the connection. Default false; always so for an HTTP/1.0 request. */
  readonly untilClose?: boolean
}

/** A whole answer. */
export interface MockAnswer extends MockHead {
  readonly body?: string | Uint8Array
  /** In place of `body`: pieces, each its own chunk on the wire. */
  readonly chunks?: readonly (string | Uint8Array)[]
  /** Send the body in chunks. Default: where `chunks` or `trailers` are given, else `Content-Length`. */
  readonly chunked?: boolean
  readonly trailers?: MockHeaders
}

/** A request as it was received; filled while its body arrives. */
export interface MockRequest {
  /** Number of the connection that carried it; the first is 1. */
  readonly connection: number
  readonly method: string
  /** Path and query as received. */
  readonly path: string
  /** `1.1` or `1.0`. */
  readonly version: string
  /** Every byte of the head, as latin1, its empty line included. */
  readonly rawHead: string
  readonly headers: HeaderList
  /** The body so far, without its framing. */
  readonly bodyBytes: Buffer
  /** {@link bodyBytes} as UTF-8. */
  readonly bodyText: string
  /** The body so far as it stood on the wire: chunk sizes and trailers included. */
  readonly wireBytes: Buffer
  /** `null` where there are none, or not yet. */
  readonly trailers: HeaderList | null
  /** The last byte of the body has arrived. */
  readonly isComplete: boolean
  /** It asks for `100 Continue`. */
  readonly expectsContinue: boolean
  /** First value of a header, whatever its case. */
  header(name: string): string | undefined
  /** The whole body, without its framing. Rejects where the connection ends before it. */
  body(): Promise<Buffer>
  /** Stop reading from the connection, to be a slow reader. */
  pause(): void
  resume(): void
}

/** The answering end of one request. Nothing here throws; once the connection is gone everything does nothing. */
export interface MockReply {
  /** The connection has been closed, by whomever. */
  readonly closed: Promise<void>
  readonly isClosed: boolean
  /** Everything in one write: head, body, trailers, end. */
  send(answer?: MockAnswer): void
  /** A 1xx head; may be repeated. */
  informational(status: number, headers?: MockHeaders): void
  /** `100 Continue`. */
  continue(): void
  /** The head alone, for `chunk()` and `end()` to follow. Without framing headers the body goes in chunks. */
  head(head?: MockHead): void
  /** A piece of the body, framed as the head said. @returns `false` when the socket's buffer is full: see {@link drained}. */
  chunk(data: string | Uint8Array): boolean
  /** Resolves when what was written has left for the kernel, or the connection is closed. */
  drained(): Promise<void>
  /** The answer is complete; the connection is free for the next request. */
  end(trailers?: MockHeaders): void
  /** Bytes as they are; strings are latin1. The answer is still to be ended, by `end()` or by closing the connection. */
  raw(bytes: string | Uint8Array): boolean
  /** Closes the connection by RST, at once. A unix socket has none and is just closed. */
  reset(): void
  /** Closes the connection by FIN after what was written, wherever in the answer that is. */
  cut(): void
  /** FIN after what was written, but goes on reading. */
  halfClose(): void
  /** Closes the connection after the answer without a word about it in the head. */
  closeAfter(): void
  /**
   * Hands the connection out, paused, after `raw()` has said 101 or before: what comes on it from now on, its end
   * included, is no request and the caller's to read. Bytes that came behind the request are read first.
   */
  takeOver(): net.Socket
}

/** Called when a head has arrived; the body may follow. It may answer later than it returns. */
export type MockHandler = (request: MockRequest, reply: MockReply) => void | Promise<void>
/** What to do with one request: a handler, or an answer that is sent once the body has arrived (after `100 Continue` where asked for). */
export type MockStep = MockHandler | MockAnswer
/** One step for all requests, or a list of them used one after another, the last one for all that follow. */
export type MockScript = MockStep | readonly MockStep[]

/** Where and how a mock backend listens. */
export interface MockBackendOptions {
  /** Address to listen on and to name in the URL. Default `127.0.0.1`. */
  readonly host?: string
  /** Default 0: any free one. */
  readonly port?: number
  /** Listen on a unix socket in place of a port. */
  readonly socketPath?: string
  /** Speak TLS, with this key and certificate. */
  readonly tls?: tls.TlsOptions
  /** Called with each connection, after its TLS handshake and before anything is read from it: to break it there. */
  readonly onConnection?: (socket: net.Socket) => void
}

/** A real server for tests, on raw sockets, so that it can misbehave at the byte level. */
export interface MockBackend extends AsyncDisposable {
  /** Base URL that `createProxy()` takes, without a slash at the end. */
  readonly url: string
  /** 0 for a unix socket. */
  readonly port: number
  /** All requests whose head has arrived, in that order. */
  readonly requests: readonly MockRequest[]
  /** What was not a well-formed request, in words. Answered with 400; an honest proxy leaves this empty. */
  readonly faults: readonly string[]
  /** What handlers threw; their connections were cut. {@link close} rejects with the first one, so that no test misses it. */
  readonly scriptErrors: unknown[]
  /** Connections ever made. */
  readonly connections: number
  readonly openConnections: number
  /** The first complete request that no earlier call has returned; waits for it. Rejects when the backend is closed. */
  nextRequest(): Promise<MockRequest>
  /** The same by heads: the body may be on its way. Counts for itself. */
  nextRequestHead(): Promise<MockRequest>
  /** Resolves when `count` connections are open; at once where that is so. */
  untilOpenConnections(count: number): Promise<void>
  /** Replaces the script, from the next request on. */
  use(script: MockScript): void
  /** FIN on every connection that carries no request. */
  closeIdle(): void
  /** Dies: stops listening and destroys all connections. */
  stop(): Promise<void>
  /** Comes back on the same port, after {@link stop} where it runs. */
  restart(): Promise<void>
  /** {@link stop} for good. Idempotent. */
  close(): Promise<void>
}

/** Starts a mock backend. Default script: 200, `text/plain`, the method and path as the body. */
export async function mockBackend(
  script: MockScript = nameTheRequest,
  options: MockBackendOptions = {},
): Promise<MockBackend> {
  const { host = '127.0.0.1', socketPath } = options
  const requests: MockRequest[] = []
  const faults: string[] = []
  const scriptErrors: unknown[] = []
  const open = new Set<Conversation>()
  const sockets = new Set<net.Socket>()
  const complete = queue<MockRequest>()
  const heads = queue<MockRequest>()
  const countWaiters = new Set<{ count: number; resolve: () => void }>()
  let steps = asSteps(script)
  let connections = 0
  let port = options.port ?? 0
  let server: net.Server | null = null

  const house: House = {
    nextStep: () => (steps.length > 1 ? (steps.shift() as MockStep) : (steps[0] ?? nameTheRequest)),
    onHead(request) {
      requests.push(request)
      heads.push(request)
    },
    onComplete: complete.push,
    onFault: (fault) => void faults.push(fault),
    onScriptError: (error) => void scriptErrors.push(error),
  }

  function tellCounts(): void {
    for (const waiter of countWaiters) {
      if (waiter.count !== open.size) continue
      countWaiters.delete(waiter)
      waiter.resolve()
    }
  }

  function converse(socket: net.Socket, tcp: net.Socket): void {
    options.onConnection?.(socket)
    const conversation = new Conversation(++connections, socket, tcp, house)
    open.add(conversation)
    tellCounts()
    conversation.closed.then(() => {
      open.delete(conversation)
      tellCounts()
    })
  }

  async function start(): Promise<void> {
    const { tls: tlsOptions } = options
    const secureContext = tlsOptions && tls.createSecureContext(tlsOptions)
    // `allowHalfOpen`, so that it is our script that decides how a connection ends.
    server = net.createServer({ allowHalfOpen: true, noDelay: true }, (tcp) => {
      sockets.add(tcp)
      tcp.on('error', ignore).once('close', () => sockets.delete(tcp))
      if (secureContext === undefined) {
        converse(tcp, tcp)
        return
      }
      // Not tls.createServer: it hides the TCP socket, which is the one that can send RST.
      const socket = new tls.TLSSocket(tcp, { ...tlsOptions, isServer: true, secureContext })
      socket.on('error', ignore).once('secure', () => converse(socket, tcp))
    })
    const listening = server
    await new Promise<void>((resolve, reject) => {
      listening.once('error', reject)
      listening.listen(socketPath === undefined ? { port, host } : { path: socketPath }, resolve)
    })
    listening.on('error', ignore)
    if (socketPath === undefined) port = (listening.address() as AddressInfo).port
  }

  async function stop(): Promise<void> {
    const closing = server
    if (closing === null) return
    server = null
    const closed = new Promise<void>((resolve) => closing.close(() => resolve()))
    for (const conversation of open) conversation.destroy()
    for (const socket of sockets) socket.destroy()
    await closed
    await Promise.all(Array.from(open, (conversation) => conversation.closed))
  }

  async function close(): Promise<void> {
    await stop()
    complete.close()
    heads.close()
    if (scriptErrors.length > 0) throw scriptErrors.splice(0)[0]
  }

  await start()
  const scheme = options.tls === undefined ? 'http' : 'https'
  return {
    url:
      socketPath === undefined
        ? `${scheme}://${net.isIPv6(host) ? `[${host}]` : host}:${port}`
        : `http+unix://${socketPath.split('/').map(encodeURIComponent).join('/')}`,
    get port() {
      return port
    },
    requests,
    faults,
    scriptErrors,
    get connections() {
      return connections
    },
    get openConnections() {
      return open.size
    },
    nextRequest: complete.next,
    nextRequestHead: heads.next,
    untilOpenConnections: (count) =>
      new Promise((resolve) => {
        if (open.size === count) resolve()
        else countWaiters.add({ count, resolve })
      }),
    use(next) {
      steps = asSteps(next)
    },
    closeIdle() {
      for (const conversation of open) conversation.closeIfIdle()
    },
    stop,
    async restart() {
      await stop()
      await start()
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/**
 * A port and URL on loopback that nobody listens on. Not one that was closed again, which another process's test could be
 * given a moment later: it is this end of a connection, which is held for as long as the process lives.
 */
export async function deadPort(): Promise<{ readonly port: number; readonly url: string }> {
  const server = net.createServer().unref()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve))
  const near = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  const far = await accepted
  for (const socket of [near, far]) socket.on('error', ignore).unref()
  server.close()
  const port = far.remotePort as number
  return { port, url: `http://127.0.0.1:${port}` }
}

/** The default script: says what was asked for. */
function nameTheRequest(request: MockRequest, reply: MockReply): Promise<void> {
  const body = `${request.method} ${request.path}`
  return answerAfterBody(request, reply, { headers: ['Content-Type', 'text/plain'], body })
}

async function answerAfterBody(request: MockRequest, reply: MockReply, answer: MockAnswer): Promise<void> {
  if (request.expectsContinue) reply.continue()
  await request.body()
  reply.send(answer)
}

/** What a connection needs of its backend. */
interface House {
  nextStep(): MockStep
  onHead(request: MockRequest): void
  onComplete(request: MockRequest): void
  onFault(fault: string): void
  onScriptError(error: unknown): void
}

/** One connection: reads requests as they come, answers them one after another. */
class Conversation {
  readonly closed: Promise<void>
  isClosed = false
  readonly socket: net.Socket
  readonly #tcp: net.Socket
  readonly #house: House
  readonly #reader: RequestReader
  readonly #waiting: Recorded[] = []
  #reply: Reply | null = null
  readonly #onData = (bytes: Buffer): void => this.#read(bytes)
  readonly #onEnd = (): void => void this.socket.end()

  constructor(number: number, socket: net.Socket, tcp: net.Socket, house: House) {
    this.socket = socket
    this.#tcp = tcp
    this.#house = house
    this.#reader = new RequestReader(number, socket, {
      onHead: (request) => {
        house.onHead(request)
        this.#waiting.push(request)
        this.#serve()
      },
      onComplete: (request) => house.onComplete(request),
    })
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isClosed = true
        this.#reader.abandon()
        resolve()
      })
    })
    socket
      .on('error', ignore)
      .on('data', this.#onData)
      // The peer is done with us, as a server of node's sees it: nobody waits for the rest of an answer.
      .on('end', this.#onEnd)
  }

  takeOver(): net.Socket {
    const { socket } = this
    socket.off('data', this.#onData).off('end', this.#onEnd).pause()
    socket.unshift(this.#reader.takeRest())
    return socket
  }

  /** An answer is over: the next request's turn. */
  onReplyEnd(closes: boolean): void {
    this.#reply = null
    if (closes) this.socket.end()
    else this.#serve()
  }

  closeIfIdle(): void {
    if (this.#reply === null && this.#reader.isBetweenRequests) this.socket.end()
  }

  reset(): void {
    try {
      reset(this.#tcp)
    } catch {
      // A unix socket has no RST.
    }
    this.socket.destroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  #read(bytes: Buffer): void {
    const fault = this.#reader.read(bytes)
    if (fault === null) return
    this.#house.onFault(fault)
    this.socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
  }

  #serve(): void {
    if (this.#reply !== null || this.isClosed) return
    const request = this.#waiting.shift()
    if (request === undefined) return
    const reply = new Reply(this, request)
    this.#reply = reply
    this.#run(this.#house.nextStep(), request, reply).catch((error: unknown) => {
      // That the peer went away is no fault of the script's.
      if (error !== request.loss) this.#house.onScriptError(error)
      reply.cut()
    })
  }

  async #run(step: MockStep, request: MockRequest, reply: MockReply): Promise<void> {
    await (typeof step === 'function' ? step(request, reply) : answerAfterBody(request, reply, step))
  }
}

class Reply implements MockReply {
  readonly #conversation: Conversation
  readonly #request: MockRequest
  #isBegun = false
  #isChunked = false
  #isBodiless = false
  #isOver = false
  #closes: boolean

  constructor(conversation: Conversation, request: MockRequest) {
    this.#conversation = conversation
    this.#request = request
    const asked = request.header('connection') ?? ''
    this.#closes = /\bclose\b/i.test(asked) || (request.version === '1.0' && !/keep-alive/i.test(asked))
  }

  get closed(): Promise<void> {
    return this.#conversation.closed
  }
  get isClosed(): boolean {
    return this.#conversation.isClosed
  }

  send(answer: MockAnswer = {}): void {
    const { body = '', chunks = [body], trailers, status = 200, untilClose = false } = answer
    const chunked = answer.chunked ?? (answer.chunks !== undefined || trailers !== undefined)
    const headers = flatHeaders(answer.headers)
    if (!chunked && !untilClose && !hasFraming(headers) && status !== 204 && status !== 304) {
      headers.push('Content-Length', String(chunks.reduce((sum, chunk) => sum + Buffer.byteLength(chunk), 0)))
    }
    const { socket } = this.#conversation
    socket.cork()
    this.head({ ...answer, headers })
    for (const chunk of chunks) this.chunk(chunk)
    this.end(trailers)
    socket.uncork()
  }

  informational(status: number, headers: MockHeaders = []): void {
    this.#write(headText(status, STATUS_CODES[status] ?? '', flatHeaders(headers)))
  }

  continue(): void {
    this.informational(100)
  }

  head(head: MockHead = {}): void {
    const { status = 200, reason = STATUS_CODES[status] ?? '', untilClose = false } = head
    const { method, version } = this.#request
    const headers = flatHeaders(head.headers)
    this.#isBodiless = method === 'HEAD' || status === 204 || status === 304
    if (!hasFraming(headers) && status !== 204 && status !== 304) {
      if (untilClose || version === '1.0') this.#closes = true
      else headers.push('Transfer-Encoding', 'chunked')
    }
    this.#isChunked = /\bchunked\b/i.test(find(headers, 'transfer-encoding') ?? '')
    if (this.#closes && find(headers, 'connection') === undefined) headers.push('Connection', 'close')
    if (/\bclose\b/i.test(find(headers, 'connection') ?? '')) this.#closes = true
    this.#isBegun = true
    this.#write(headText(status, reason, headers))
  }

  chunk(data: string | Uint8Array): boolean {
    if (!this.#isBegun) this.head()
    const bytes = Buffer.from(data as string)
    if (this.#isBodiless || bytes.length === 0) return true
    if (!this.#isChunked) return this.#write(bytes)
    return this.#write(Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]))
  }

  drained(): Promise<void> {
    const { socket, closed } = this.#conversation
    if (this.isClosed || !socket.writableNeedDrain) return Promise.resolve()
    return Promise.race([closed, new Promise<void>((resolve) => socket.once('drain', resolve))])
  }

  end(trailers?: MockHeaders): void {
    if (this.#isOver) return
    if (!this.#isBegun) this.head({ headers: ['Content-Length', '0'] })
    if (this.#isChunked && !this.#isBodiless) this.#write(`0\r\n${fieldLines(flatHeaders(trailers))}\r\n`)
    this.#isOver = true
    this.#conversation.onReplyEnd(this.#closes)
  }

  raw(bytes: string | Uint8Array): boolean {
    this.#isBegun = true
    return this.#write(bytes)
  }

  reset(): void {
    this.#isOver = true
    this.#conversation.reset()
  }

  cut(): void {
    this.#isOver = true
    this.#conversation.socket.destroySoon()
  }

  halfClose(): void {
    this.#conversation.socket.end()
  }

  closeAfter(): void {
    this.#closes = true
  }

  takeOver(): net.Socket {
    return this.#conversation.takeOver()
  }

  #write(bytes: string | Uint8Array): boolean {
    const { socket } = this.#conversation
    if (this.#isOver || !socket.writable) return true
    return typeof bytes === 'string' ? socket.write(bytes, 'latin1') : socket.write(bytes)
  }
}

/** A {@link MockRequest} while it arrives. */
class Recorded implements MockRequest {
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
    this.loss = new Error(`the connection ended within the body of ${this.method} ${this.path}`)
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

/** Reads requests from one connection's bytes. Plain rather than fast; strict, so that what a proxy gets wrong is seen. */
class RequestReader {
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

  /** @returns what is wrong with the bytes, once, or `null`. */
  read(bytes: Buffer): string | null {
    if (this.#state === 'failed') return null
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    while (this.#fault === null && this.#rest.length > 0 && this.#step());
    if (this.#fault !== null) this.#state = 'failed'
    return this.#fault
  }

  /** No more will come. */
  abandon(): void {
    this.#request?.lose()
  }

  /** Bytes that belong to no request so far. */
  takeRest(): Buffer {
    const rest = this.#rest
    this.#rest = Buffer.alloc(0)
    return rest
  }

  /** @returns whether it got anywhere. */
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
    // An empty line ends the trailers; without any, it comes at once.
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

const NO_MORE = 'the mock backend was closed before another request came'

/** Hands out values in order, to whoever asks first; either may come before the other. */
function queue<Value>(): { push: (value: Value) => void; next: () => Promise<Value>; close: () => void } {
  const values: Value[] = []
  const takers: { resolve: (value: Value) => void; reject: (error: Error) => void }[] = []
  let isClosed = false
  return {
    push(value) {
      const taker = takers.shift()
      if (taker === undefined) values.push(value)
      else taker.resolve(value)
    },
    next() {
      const value = values.shift()
      if (value !== undefined) return Promise.resolve(value)
      if (isClosed) return Promise.reject(new Error(NO_MORE))
      const promise = new Promise<Value>((resolve, reject) => takers.push({ resolve, reject }))
      // Where nobody looks at it any more, its rejection is no news.
      promise.catch(ignore)
      return promise
    },
    close() {
      isClosed = true
      for (const taker of takers.splice(0)) taker.reject(new Error(NO_MORE))
    },
  }
}

function asSteps(script: MockScript): MockStep[] {
  return Array.isArray(script) ? [...(script as readonly MockStep[])] : [script as MockStep]
}

/** A list of one's own from either form. */
export function flatHeaders(headers: MockHeaders = []): HeaderList {
  if (Array.isArray(headers)) return [...(headers as Readonly<HeaderList>)]
  return Object.entries(headers as Readonly<Record<string, string | readonly string[]>>).flatMap(([name, value]) =>
    [value].flat().flatMap((one) => [name, one as string]),
  )
}

function all(headers: Readonly<HeaderList>, name: string): string[] {
  const lower = name.toLowerCase()
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === lower)
}

function find(headers: Readonly<HeaderList>, name: string): string | undefined {
  return all(headers, name)[0]
}

function hasFraming(headers: Readonly<HeaderList>): boolean {
  return find(headers, 'content-length') !== undefined || find(headers, 'transfer-encoding') !== undefined
}

function headText(status: number, reason: string, headers: Readonly<HeaderList>): string {
  return `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(headers)}\r\n`
}

function fieldLines(headers: Readonly<HeaderList>): string {
  let text = ''
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return text
}

function ignore(): void {}
