import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { BodySink, ResponseHead } from '../contracts/pool.ts'
import { isName } from '../http1/fields.ts'
import { fieldsText } from '../http1/head-writer.ts'
import type { HeaderList } from '../model/exchange.ts'
import { atEndOfTurn, type Writer } from '../model/turn.ts'
import type { Front, FrontBody, FrontEvents, Peer, Retainable } from '../request/front.ts'
import { responseHeaders } from '../request/response-headers.ts'
import { reset } from './tcp.ts'

const SMALL_BODY_BYTES = 4096

const ENDS = Symbol('ends')
const REQUESTS = Symbol('requests')

/** What we keep on a client's connection. */
interface Marked {
  /** It ends with the answer that says so, or with that to this request. */
  [ENDS]?: true | IncomingMessage
  /** How many requests it has carried; counted where that is limited. */
  [REQUESTS]?: number
  /** node's: the response that is being written. */
  readonly _httpMessage?: { readonly _last: boolean } | null
}

/**
 * Whether the connection ends with an answer that has been given, or that to an earlier request than `req`: what else comes
 * on it is not a request (RFC 9112 section 9.6).
 */
export function isEnding(socket: Socket, req?: IncomingMessage): boolean {
  const { [ENDS]: end, _httpMessage: answer } = socket as Marked
  // node's own answers (400 where there is no Host), and the application's.
  return (end !== undefined && end !== req) || answer?._last === true
}

/**
 * An upgrade that has not been taken: node drops what else is in its segment, and would read what comes in the next one as a
 * request, out of step with what the client has sent.
 */
export function isUpgradeNotTaken({ rawHeaders }: IncomingMessage): boolean {
  // Not `req.headers`, which node makes when it is first asked for.
  return (
    hasField(rawHeaders, 'upgrade', ANYTHING) &&
    (hasField(rawHeaders, 'connection', UPGRADE) || hasField(rawHeaders, 'proxy-connection', UPGRADE))
  )
}

const ANYTHING = /^/
/** Wherever it stands: what node takes for the token must not be missed. It reads `Proxy-Connection` as it does `Connection`. */
const UPGRADE = /upgrade/i

function hasField(headers: Readonly<HeaderList>, lowerName: string, value: RegExp): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    if (isName(headers[i] as string, lowerName) && value.test(headers[i + 1] as string)) return true
  }
  return false
}

/** The connection ends with the answer to this request, whoever gives it. */
export function endAfter(req: IncomingMessage, res: ServerResponse): void {
  const socket = req.socket as Marked
  res.shouldKeepAlive = false
  socket[ENDS] ??= req
}

/** The client's side of an exchange on node:http's `IncomingMessage` and `ServerResponse`. */
export class NodeFront implements Front, Writer {
  readonly method: string
  readonly target: string
  readonly minorVersion: number
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #hasBody: boolean
  #events: FrontEvents | null = null
  /** Bytes that Content-Length still promises; -1 where it does not say. */
  #left = -1
  #isCorked = false
  /** Whose bytes wait behind the cork; they are valid until the end of the batch. */
  #corkedFor: Retainable | null = null
  #awaitsDrain = false
  /** The head waits for the first bytes of the body, to go out with them. */
  #holdsHead = false
  /** The last of the body, to go out with the end. */
  #last = ''

  constructor(req: IncomingMessage, res: ServerResponse, peer: Peer, hasBody: boolean) {
    this.#req = req
    this.#res = res
    this.#hasBody = hasBody
    this.method = req.method ?? 'GET'
    this.target = req.url ?? '/'
    this.minorVersion = req.httpVersionMinor
    this.headers = req.rawHeaders
    this.peer = peer
  }

  /** Tells `events` what becomes of the client from now on. */
  connect(events: FrontEvents): void {
    const res = this.#res
    this.#events = events
    res.on('error', ignore)
    if (res.destroyed || this.#req.socket.destroyed) process.nextTick(() => events.onClientGone())
    else res.on('close', () => (res.writableFinished ? events.onClientDone() : events.onClientGone()))
    if (res.socket === null) this.#watchConnection(events)
  }

  /** Behind others in a pipeline: before node 24 such a response does not hear that its connection has ended. */
  #watchConnection(events: FrontEvents): void {
    const { socket } = this.#req
    const onClose = (): void => events.onClientGone()
    // There are as many listeners as requests in the pipeline.
    socket.setMaxListeners(0).on('close', onClose)
    this.#res.on('close', () => socket.off('close', onClose))
  }

  /** The request's body has been read to its end (or there is none). */
  get #isRequestComplete(): boolean {
    return !this.#hasBody || this.#req.complete
  }

  inform(head: ResponseHead): void {
    const res = this.#res
    // A response behind others in a pipeline has no socket yet: interim ones are optional.
    if (res.headersSent || res.socket === null || this.minorVersion === 0) return
    const headers = responseHeaders(head.headers, { bodyBytes: -1, isBodiless: false, takesTrailers: false, via: '' })
    res.socket.write(`HTTP/1.1 ${head.status} ${head.reason}\r\n${fieldsText(headers)}\r\n`, 'latin1')
  }

  respond(status: number, reason: string, headers: HeaderList, bodyBytes: number): void {
    const res = this.#res
    // The application has answered by itself.
    if (res.headersSent) return this.cut()
    this.#left = bodyBytes
    this.#holdsHead = true
    res.sendDate = !hasDate(headers)
    // What the client still uploads is for nobody: it may stop, and the connection cannot be used again.
    if (status >= 300 && !this.#isRequestComplete) this.endAfterwards()
    // Where there is a Connection (`upgrade`), node adds none, and takes the connection for one that stays.
    if (status === 426 && headers.includes('Connection'))
      headers.push('Connection', res.shouldKeepAlive ? 'keep-alive' : 'close')
    writeHead(res, status, reason, headers)
  }

  write(chunk: Buffer, owner: Retainable): boolean {
    const res = this.#res
    const socket = res.socket
    this.#holdsHead = false
    if (socket === null) {
      // Behind others in a pipeline: node keeps it, so it must be ours.
      return this.#waitUnless(res.write(Buffer.from(chunk)))
    }
    const isSmall = chunk.length <= SMALL_BODY_BYTES
    if (this.#left >= 0) {
      this.#left -= chunk.length
      if (this.#left === 0 && isSmall) {
        // node joins a string with the head and writes both at once: a third less than two buffers cost.
        this.#last = chunk.toString('latin1')
        return true
      }
      // Else node keeps it corked to the next tick, and it would have to be retained: half of what 1 MiB costs.
      socket.cork()
      const taken = this.#left === 0 ? !res.end(chunk).writableNeedDrain : res.write(chunk)
      socket.uncork()
      if (socket.writableLength === 0) return true
      owner.retain()
      return this.#left === 0 || this.#waitUnless(taken)
    }
    const wasBlocked = res.writableNeedDrain
    if (!this.#isCorked) {
      // node would hold chunks until the next tick; so do we, but only to the end of what has arrived.
      this.#isCorked = true
      socket.cork()
    }
    if (isSmall) res.write(chunk.toString('latin1'), 'latin1')
    else {
      this.#corkedFor = owner
      res.write(chunk)
    }
    return this.#waitUnless(!wasBlocked)
  }

  flush(): void {
    const last = this.#last
    if (this.#isCorked) this.#uncork()
    else if (this.#holdsHead || last !== '') {
      this.#holdsHead = false
      this.#last = ''
      // Not `flushHeaders()`, which writes UTF-8: bytes over 0x7f would become two.
      this.#res.write(last, 'latin1')
    }
  }

  end(trailers: HeaderList | null): void {
    if (this.#left === 0 && this.#res.writableEnded) return
    if (trailers !== null) this.#res.addTrailers(pairs(trailers))
    if (this.#corkedFor === null) atEndOfTurn(this)
    else this.writeOut()
  }

  /** The answer is complete. */
  writeOut(): void {
    const res = this.#res
    if (this.#last === '') res.end()
    else res.end(this.#last, 'latin1')
    if (this.#isCorked) this.#uncork()
  }

  onWriteThrew(thrown: unknown): void {
    this.#events?.onFrontThrew(thrown)
    this.cut()
  }

  refuse(status: number, headers: HeaderList, text: string): void {
    const res = this.#res
    // The application has given a whole answer by itself.
    if (res.writableEnded) return
    if (res.headersSent || res.destroyed) return this.cut()
    // Whoever sends what cannot be understood may mean something else by what follows, too.
    if (status === 400 || !this.#isRequestComplete) this.endAfterwards()
    writeHead(res, status, '', headers)
    res.end(text)
  }

  /** The connection ends with this answer, whoever gives it. */
  endAfterwards(): void {
    const socket = this.#req.socket as Marked
    this.#res.shouldKeepAlive = false
    socket[ENDS] = true
  }

  /** The connection ends with the answer to its request number `max`. Not node's `maxRequestsPerSocket`, which only says so. */
  countRequest(max: number): void {
    const socket = this.#req.socket as Marked
    const requests = (socket[REQUESTS] ?? 0) + 1
    socket[REQUESTS] = requests
    if (requests >= max) this.endAfterwards()
  }

  cut(): void {
    const res = this.#res
    const socket = res.socket
    if (socket !== null && !socket.destroyed && res.headersSent) {
      // What came before the cut is the client's: it must not take this for a connection that was never used.
      try {
        this.flush()
      } catch {
        // What an application has put around its response: it ends all the same.
      }
      while (socket.writableCorked > 0) socket.uncork()
    }
    // Where only the end of the connection ends the body, a clean end would look complete. Clients take a TLS connection that just
    // ends for a clean end, too (curl does), and only TCP has RST.
    if (this.minorVersion === 0 && this.peer.address !== '') reset(socket ?? this.#req.socket)
    // A unix socket has no RST.
    else res.destroy()
  }

  #uncork(): void {
    const socket = this.#res.socket
    const owner = this.#corkedFor
    this.#isCorked = false
    this.#corkedFor = null
    socket?.uncork()
    if (socket !== null && socket.writableLength > 0) owner?.retain()
  }

  #waitUnless(goOn: boolean): boolean {
    if (goOn || this.#awaitsDrain) return goOn
    this.#awaitsDrain = true
    this.#res.once('drain', () => {
      this.#awaitsDrain = false
      this.#events?.onClientDrain()
    })
    return false
  }
}

/** A request's body as node:http reads it. */
export class NodeBody implements FrontBody {
  readonly bytes: number
  readonly isDecoded = false
  readonly expectsContinue: boolean
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  #sink: BodySink | null = null
  readonly #onData = (chunk: Buffer): void => {
    this.#sink?.onBody(chunk)
  }
  readonly #onEnd = (): void => {
    const trailers = this.#req.rawTrailers
    this.#sink?.onBodyEnd(trailers.length === 0 ? null : trailers)
  }

  /** @param bytes announced length, or -1. */
  constructor(req: IncomingMessage, res: ServerResponse, bytes: number, expectsContinue: boolean) {
    this.#req = req
    this.#res = res
    this.bytes = bytes
    this.expectsContinue = expectsContinue
  }

  start(sink: BodySink): void {
    this.#sink = sink
    // Whoever starts to read wants the body: the client may send it.
    if (this.expectsContinue && !this.#res.headersSent) this.#res.writeContinue()
    this.#req.on('data', this.#onData).on('end', this.#onEnd)
  }

  pause(): void {
    this.#req.pause()
  }

  resume(): void {
    this.#req.resume()
  }

  abandon(): void {
    this.#sink = null
    this.#req.off('data', this.#onData).off('end', this.#onEnd)
    // What still comes is read and dropped, or the connection's next request would wait behind it for ever.
    this.#req.resume()
  }
}

/** A body that an earlier body parser has read, or that the application hands in. */
export class BufferedBody implements FrontBody {
  readonly bytes: number
  readonly expectsContinue = false
  readonly isDecoded: boolean
  readonly #body: Buffer

  constructor(body: Buffer, isDecoded: boolean) {
    this.#body = body
    this.isDecoded = isDecoded
    this.bytes = body.length
  }

  start(sink: BodySink): void {
    if (this.#body.length > 0) sink.onBody(this.#body)
    sink.onBodyEnd(null)
  }

  pause(): void {}
  resume(): void {}
  abandon(): void {}
}

/** Middleware that wraps `writeHead` (on-headers before 1.1, which many apps have) does not know flat lists. */
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

function ignore(): void {}

function hasDate(headers: HeaderList): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === 4 && name.toLowerCase() === 'date') return true
  }
  return false
}

function pairs(list: HeaderList): [string, string][] {
  const result: [string, string][] = []
  for (let i = 0; i < list.length; i += 2) result.push([list[i] as string, list[i + 1] as string])
  return result
}
