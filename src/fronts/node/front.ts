import { AsyncResource } from 'node:async_hooks'
import { type IncomingMessage, OutgoingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Front, FrontEvents, Retainable } from '../../exchange/front.ts'
import type { Core } from '../../exchange/services.ts'
import { announceNothing, interimHeaders } from '../../headers/response.ts'
import { isName, pairs, removeField } from '../../http1/fields.ts'
import { fieldsText } from '../../http1/head-writer.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { HttpVersion, ResponseHead } from '../../model/message.ts'
import type { Peer } from '../../model/peer.ts'
import { addToWriteBatch, type Writer } from '../../runtime/write-batch.ts'
import { lastAt } from '../age.ts'
import {
  closeAfter,
  currentResponse,
  endsConnection,
  isKeptAfter,
  isNodesOwn,
  mayHaveBody,
  needsDrain,
} from '../node-internals.ts'
import { reset } from '../tcp.ts'
import { keepApplicationHeaders, replaceFraming } from './application-headers.ts'
import { versionOf } from './received-headers.ts'

/** Pieces of a body up to this size are joined in one string, which node writes together with the bytes before it. */
const SMALL_BODY_BYTES = 4096
/** Joined pieces longer than this are written at once. */
const MAX_TEXT = 65_536

const ENDS = Symbol('ends')
const REQUESTS = Symbol('requests')
const LAST_AT = Symbol('last at')

/** Our fields on a client's connection. */
interface Marked {
  /** The connection ends with the response to this request. */
  [ENDS]?: IncomingMessage
  /** How many requests it has carried; counted only if that is limited. */
  [REQUESTS]?: number
  /** From then on a response ends the connection; only if its age is limited. */
  [LAST_AT]?: number
}

/**
 * Whether a response other than `own` has said or will say that the connection ends. Anything else that arrives on it is not a
 * request (RFC 9112 section 9.6).
 */
export function isEnding(socket: Socket, own: ServerResponse | null = null): boolean {
  const { [ENDS]: end } = socket as Marked
  const response = currentResponse(socket)
  // Includes node's own responses (400 if Host is missing), and the application's.
  if ((end !== undefined && end !== own?.req) || (response && response !== own && endsConnection(response))) return true
  // The response that said so has been sent. If the client has ended its side, node ends ours by itself.
  return socket.writableEnded && !socket.readableEnded
}

/**
 * Whether the request is an upgrade that has not been taken. node drops the rest of its segment, and would read the next segment
 * as a request, out of step with the bytes that the client has sent.
 */
export function isUpgradeNotTaken({ rawHeaders }: IncomingMessage): boolean {
  // Not `req.headers`: node builds it on first access.
  return (
    hasField(rawHeaders, 'upgrade', ANYTHING) &&
    (hasField(rawHeaders, 'connection', UPGRADE) || hasField(rawHeaders, 'proxy-connection', UPGRADE))
  )
}

const ANYTHING = /^/
/**
 * Matches anywhere in the value: everything that node takes for the token must match. node treats `Proxy-Connection` like
 * `Connection`.
 */
const UPGRADE = /upgrade/i

function hasField(headers: Readonly<HeaderList>, lowerName: string, value: RegExp): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    if (isName(headers[i] as string, lowerName) && value.test(headers[i + 1] as string)) return true
  }
  return false
}

/** Ends the connection with the response to this request, whoever gives it. */
export function endAfter(req: IncomingMessage, res: ServerResponse): void {
  const socket = req.socket as Marked
  socket[ENDS] ??= req
  endWith(res, req.socket)
}

/** Ends the connection with this response. */
function endWith(res: ServerResponse, socket: Socket): void {
  closeAfter(res)
  res.once('finish', () => {
    // The application's own response has said `Connection: keep-alive`, which counts for node.
    if (!endsConnection(res)) socket.end()
  })
}

/** No destroy hook: it would cost more than everything else. */
const SCOPE = { requireManualDestroy: true }

const { on: nodeOn } = OutgoingMessage.prototype

/** The client's side of an exchange on node:http's `IncomingMessage` and `ServerResponse`. */
export class NodeFront implements Front, Writer {
  readonly method: string
  readonly target: string
  readonly version: HttpVersion
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  /** The async context of the caller that gave us the request. The application's callbacks for the request run in it. */
  readonly scope = new AsyncResource('heddle.exchange', SCOPE)
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #hasBody: boolean
  #events: FrontEvents | null = null
  /** Bytes that Content-Length still promises; -1 if there is none. */
  #left = -1
  #isCorked = false
  /** The owner of the bytes that the cork holds; they are valid until the end of the batch. */
  #corkedFor: Retainable | null = null
  #hearsDrain = false
  #awaitsDrain = false
  /** The head waits for the first bytes of the body, to be sent with them. */
  #holdsHead = false
  /** Small pieces of the body, to be sent together: latin1, one byte per character. */
  #text = ''
  /** The last bytes of the body, to be sent with the end. */
  #last: Buffer | null = null
  /** The application had begun a response before it gave us the request. */
  readonly #wasBegun: boolean
  #hasResponded = false
  /** `res.end()` was called. */
  #isOver = false
  /** The application has begun a response, or the connection is gone: nothing more is written. */
  #isLeft = false

  constructor(req: IncomingMessage, res: ServerResponse, peer: Peer, hasBody: boolean) {
    this.#req = req
    this.#res = res
    this.#hasBody = hasBody
    this.#wasBegun = res.headersSent && !res.writableEnded
    this.method = req.method ?? 'GET'
    this.target = req.url ?? '/'
    this.version = versionOf(req) ?? '1.1'
    this.headers = req.rawHeaders
    this.peer = peer
  }

  /** Notifies `events` of the client's progress and end from now on. */
  connect(events: FrontEvents): void {
    const res = this.#res
    this.#events = events
    res.on('error', ignore)
    if (res.destroyed || this.#req.socket.destroyed) process.nextTick(() => events.onClientGone())
    else res.on('close', () => (res.writableFinished ? events.onClientDone() : events.onClientGone()))
  }

  get isRequestComplete(): boolean {
    return !this.#hasBody || this.#req.complete
  }

  get ownStatus(): number | null {
    // Nobody may be going to end a response that was begun before.
    return this.#hasResponded || this.#wasBegun || !this.#res.headersSent ? null : this.#res.statusCode
  }

  takesTrailers(bodyBytes: number): boolean {
    return bodyBytes < 0 && this.version !== '1.0'
  }

  inform(head: ResponseHead): void {
    const { headersSent, socket } = this.#res
    if (headersSent || socket === null || this.version === '1.0') return
    // The client is not reading: informational responses are skipped, since they could pile up without bound.
    if (socket.writableLength >= socket.writableHighWaterMark) return
    const headers = interimHeaders(head.headers)
    socket.write(`HTTP/1.1 ${head.status} ${head.reason}\r\n${fieldsText(headers)}\r\n`, 'latin1')
  }

  respond({ status, reason, headers, bodyBytes }: ResponseHead): void {
    const res = this.#res
    if (res.headersSent || res.destroyed) {
      this.#isLeft = true
      return this.ownStatus === null ? this.abort() : this.#events?.onClientDone()
    }
    this.#hasResponded = true
    this.#left = bodyBytes
    this.#holdsHead = true
    res.sendDate = !hasDate(headers)
    if (status === 204) removeField(headers, 'content-length')
    else if (bodyBytes === 0 && status !== 304 && mayHaveBody(res, this.method)) announceNothing(headers)
    // If there is a Connection header (`upgrade`), node adds none, and assumes that the connection stays open.
    if (status === 426 && headers.includes('Connection'))
      headers.push('Connection', isKeptAfter(res) ? 'keep-alive' : 'close')
    else if (this.isLast && res.hasHeader('connection')) headers.push('Connection', 'close')
    keepApplicationHeaders(res, headers)
    const hasBody = status !== 204 && status !== 304 && mayHaveBody(res, this.method)
    replaceFraming(res, headers, hasBody && this.version !== '1.0')
    writeHead(res, status, reason, headers)
  }

  write(chunk: Buffer, owner: Retainable): boolean {
    if (this.#isLeft) return true
    const res = this.#res
    const { length } = chunk
    if (this.#left >= 0) {
      if (length > this.#left) {
        this.abort()
        return true
      }
      this.#left -= length
    }
    if (length <= SMALL_BODY_BYTES) {
      this.#text += chunk.toString('latin1')
      return this.#text.length > MAX_TEXT ? this.#writeText() : this.#waitUnless(!this.#awaitsDrain)
    }
    if (this.#text !== '') this.#writeText()
    this.#holdsHead = false
    const { socket } = res
    if (!isNodesOwn(res, socket)) return this.#give(Buffer.from(chunk), this.#left === 0)
    const wasBlocked = needsDrain(res)
    // node would hold these bytes until the next tick. We hold them too, but only to the end of the data that has arrived.
    if (!this.#isCorked) {
      this.#isCorked = true
      socket.cork()
    }
    this.#corkedFor = owner
    if (this.#left < 0) {
      res.write(chunk)
      return this.#waitUnless(!wasBlocked)
    }
    if (this.#left > 0) res.write(chunk)
    else {
      this.#isOver = true
      res.end(chunk)
    }
    this.#uncork()
    return this.#isOver || this.#waitUnless(socket.writableLength === 0 || !needsDrain(res))
  }

  /** Writes the joined pieces (or the head alone). @returns whether more may follow. */
  #writeText(): boolean {
    const res = this.#res
    const text = this.#text
    const { socket } = res
    this.#text = ''
    this.#holdsHead = false
    if (!isNodesOwn(res, socket)) return this.#give(Buffer.from(text, 'latin1'), false)
    // Not `flushHeaders()`: it writes UTF-8, and bytes over 0x7f would become two.
    socket.cork()
    res.write(text, 'latin1')
    socket.uncork()
    return this.#waitUnless(socket.writableLength === 0 || !needsDrain(res))
  }

  /** Passes bytes that nobody else uses to a `res.write` that is not node's. @returns whether more may follow. */
  #give(bytes: Buffer, isLast: boolean): boolean {
    const res = this.#res
    if (isLast) {
      // They are sent with the end. Session middleware delays the end until its store has responded.
      this.#last = bytes
      return true
    }
    const taken: unknown = res.write(bytes)
    if (this.#left < 0) flushStream(res)
    // If a wrapper returns no boolean, the state of node's own buffer decides.
    const isFull = taken === false || (taken !== true && needsDrain(res))
    const goOn = this.#waitUnless(!isFull)
    // The wrapper says that it is full, but has neither redirected the listeners to itself nor filled node's buffer: 'drain' may
    // never come.
    if (isFull && res.on === nodeOn && !needsDrain(res)) setImmediate(() => this.#drained())
    return goOn
  }

  flush(): void {
    if (this.#isLeft) return
    if (this.#text !== '' || this.#holdsHead) this.#writeText()
    if (this.#isCorked) this.#uncork()
  }

  end(trailers: HeaderList | null): void {
    if (this.#isOver || this.#isLeft) return
    this.#isOver = true
    if (trailers !== null) this.#res.addTrailers(pairs(trailers))
    if (this.#isCorked) this.#finish()
    else addToWriteBatch(this)
  }

  /** Called at the end of the write batch: the response is complete. */
  writeOut(): void {
    this.scope.runInAsyncScope(this.#finish, this)
  }

  #finish(): void {
    const res = this.#res
    const text = this.#text
    this.#text = ''
    if (this.#last !== null) res.end(this.#last)
    else if (text === '') res.end()
    // node joins a string with the head and writes both at once, which costs a third less than two buffers.
    else if (isNodesOwn(res, res.socket)) res.end(text, 'latin1')
    else res.end(Buffer.from(text, 'latin1'))
    if (this.#isCorked) this.#uncork()
  }

  onWriteThrew(thrown: unknown): void {
    this.#events?.onFrontThrew(thrown)
    this.abort()
  }

  get isLast(): boolean {
    return (this.#req.socket as Marked)[ENDS] === this.#req
  }

  /** The connection ends with this response, whoever gives it. */
  set isLast(isLast: boolean) {
    if (!isLast || this.isLast) return
    const { socket } = this.#req
    ;(socket as Marked)[ENDS] = this.#req
    endWith(this.#res, socket)
  }

  /** Ends the connection with the response to its request number `max`. node's `maxRequestsPerSocket` only says so. */
  countRequest(max: number): void {
    const socket = this.#req.socket as Marked
    const requests = (socket[REQUESTS] ?? 0) + 1
    socket[REQUESTS] = requests
    if (requests >= max) this.isLast = true
  }

  /** Ends the connection with the response to this request if it is old. Its age counts from its first request. */
  limitAge(core: Core): void {
    const socket = this.#req.socket as Marked
    socket[LAST_AT] ??= lastAt(core)
    if (core.services.clock.now() >= socket[LAST_AT]) this.isLast = true
  }

  abort(): void {
    const res = this.#res
    const socket = res.socket
    if (socket !== null && !socket.destroyed && res.headersSent) {
      // Send the bytes that came before the abort: the client must not take this for a connection that was never used.
      try {
        this.flush()
      } catch {
        // A wrapper that the application has put around its response threw. The response is aborted anyway.
      }
      while (socket.writableCorked > 0) socket.uncork()
    }
    // If only the end of the connection ends the body, a clean end would look complete. Clients also accept a TLS connection that
    // just ends as a clean end (curl does), and only TCP has RST.
    if (this.version === '1.0' && this.peer.address !== '') reset(socket ?? this.#req.socket)
    // A unix socket has no RST.
    else res.destroy()
  }

  #uncork(): void {
    const socket = this.#res.socket
    const owner = this.#corkedFor
    this.#isCorked = false
    this.#corkedFor = null
    socket?.uncork()
    if (socket === null || socket.writableLength > 0) owner?.retain()
  }

  /** Returns `goOn`. @param goOn whether the last write left room for more. If not, `onClientDrain` follows. */
  #waitUnless(goOn: boolean): boolean {
    if (goOn) return true
    this.#awaitsDrain = true
    if (this.#hearsDrain) return false
    this.#hearsDrain = true
    const res = this.#res
    const onDrain = (): void => this.#drained()
    res.on('drain', onDrain)
    // Compression middleware redirects these listeners to its own stream. If that stream emits nothing, node's own event must do.
    if (res.on !== nodeOn) nodeOn.call(res, 'drain', onDrain)
    return false
  }

  #drained(): void {
    if (!this.#awaitsDrain) return
    this.#awaitsDrain = false
    this.#events?.onClientDrain()
  }
}

/**
 * Writes the head. Middleware that wraps `writeHead` (on-headers before 1.1, which many apps have) does not support flat lists.
 */
function writeHead(res: ServerResponse, status: number, reason: string, headers: HeaderList): void {
  let list: HeaderList | undefined = headers
  if (res.writeHead !== ServerResponse.prototype.writeHead) {
    list = undefined
    for (let i = 0; i < headers.length; i += 2) res.removeHeader(headers[i] as string)
    for (let i = 0; i < headers.length; i += 2) res.appendHeader(headers[i] as string, headers[i + 1] as string)
  }
  if (reason === '') res.writeHead(status, list)
  else res.writeHead(status, reason, list)
}

/**
 * Flushes compression middleware, which holds its input until it has more. `flush()` is its own: node has had none since version
 * 14.
 */
function flushStream(res: ServerResponse & { flush?: unknown }): void {
  if (typeof res.flush === 'function') res.flush()
}

function ignore(): void {}

function hasDate(headers: HeaderList): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === 4 && isName(name, 'date')) return true
  }
  return false
}
