import { AsyncResource } from 'node:async_hooks'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Front, FrontEvents, TunnelEvents } from '../../exchange/front.ts'
import { fieldValue, pairs } from '../../http1/fields.ts'
import { fieldsText } from '../../http1/head-writer.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { HttpVersion, ResponseHead } from '../../model/message.ts'
import type { Peer } from '../../model/peer.ts'
import type { Clock } from '../../runtime/clock.ts'
import { emitDrain, needsDrain, responseFor, sendOn } from '../node-internals.ts'
import { destroyGuarded } from '../tcp.ts'
import { Tunnel } from '../tunnel/tunnel.ts'
import { linger } from './linger.ts'
import { versionOf } from './received-headers.ts'

/** Bytes that a client may send before it has its response; after that reading stops. */
export const MAX_EARLY_BYTES = 65_536

/** The front that each stream has. One whose exchange has failed stays, and notices the end, until there is another. */
const fronts = new WeakMap<Duplex, UpgradeFront>()

/** Ends the work of a stream's front, whose exchange has failed. What the client has sent meanwhile is for the next reader. */
export function releaseUpgrade(stream: Duplex): void {
  fronts.get(stream)?.release()
}

/**
 * The client's side of an exchange that asks for an upgrade: a tunnel, or a last ordinary response. The stream is a socket, or
 * whatever the application uses instead. All callbacks of the stream are guarded, and run in the context of the request.
 */
export class UpgradeFront implements Front {
  readonly method: string
  readonly target: string
  readonly version: HttpVersion
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  readonly scope = new AsyncResource('heddle.upgrade', { requireManualDestroy: true })
  readonly isRequestComplete = true
  isLast = true
  readonly #req: IncomingMessage
  readonly #stream: Duplex
  readonly #clock: Clock
  #events: FrontEvents | null = null
  /** Bytes that came with the request, for the tunnel. */
  readonly #head: Buffer
  /** Bytes that the client has sent after these. */
  #early: Buffer[] = []
  #earlyBytes = 0
  #res: ServerResponse | null = null
  #tunnel: Tunnel | null = null
  #tunnelEvents: TunnelEvents | null = null
  #awaitsDrain = false
  readonly #onEarly = this.#guarded((chunk: Buffer) => {
    // Nobody will need it, but the end of the connection is to be noticed.
    if (this.ownStatus !== null) return
    this.#early.push(chunk)
    this.#earlyBytes += chunk.length
    if (this.#earlyBytes >= MAX_EARLY_BYTES) this.#stream.pause()
  })
  readonly #onEnd = this.#guarded(() => this.#onClientEnd())
  readonly #onClose = this.#guarded(() => this.#onClientClose())

  constructor(req: IncomingMessage, stream: Duplex, head: Buffer, peer: Peer, clock: Clock) {
    this.method = req.method ?? 'GET'
    this.target = req.url ?? '/'
    this.version = versionOf(req) ?? '1.1'
    this.headers = req.rawHeaders
    this.peer = peer
    this.#req = req
    this.#stream = stream
    this.#clock = clock
    this.#head = head
  }

  /** Notifies `events` of the client's progress and end from now on. @returns `false` if the client is already gone. */
  connect(events: FrontEvents): boolean {
    this.#events = events
    if (this.#stream.destroyed) {
      events.onClientGone()
      return false
    }
    releaseUpgrade(this.#stream)
    fronts.set(this.#stream, this)
    this.#stream.on('end', this.#onEnd).on('close', this.#onClose)
    return true
  }

  get ownStatus(): number | null {
    return this.#res === null && this.#tunnel === null && this.#stream.writableEnded ? 0 : null
  }

  /** Starts to read at once: the end of the connection is noticed only while reading. */
  read(): void {
    this.#stream.on('data', this.#onEarly).resume()
  }

  /** See {@link releaseUpgrade}. */
  release(): void {
    const stream = this.#stream
    fronts.delete(stream)
    stream.pause().off('data', this.#onEarly).off('end', this.#onEnd).off('close', this.#onClose)
    const early = this.#early.splice(0)
    if (early.length > 0 && !stream.readableEnded && !stream.destroyed) stream.unshift(Buffer.concat(early))
  }

  #guarded<Args extends unknown[]>(call: (...args: Args) => void): (...args: Args) => void {
    return (...args) => {
      try {
        this.scope.runInAsyncScope(call, undefined, ...args)
      } catch (thrown) {
        this.#events?.onFrontThrew(thrown)
        if (this.#res?.writableEnded !== true) this.abort()
      }
    }
  }

  /** A client that ends its side before it has its response has gone. node's server treats it the same way. */
  #onClientEnd(): void {
    if (this.#tunnel === null && this.#res?.writableEnded !== true) this.#stream.destroy()
  }

  #onClientClose(): void {
    // A tunnel handles this itself.
    if (this.#tunnel !== null) return
    if (this.ownStatus !== null && this.#stream.writableFinished) this.#events?.onClientDone()
    else this.#events?.onClientGone()
  }

  takesTrailers(bodyBytes: number): boolean {
    return bodyBytes < 0 && this.version !== '1.0'
  }

  inform(): void {}

  respond({ status, reason, headers }: ResponseHead): void {
    const res = this.#begin()
    // If there is a Connection header (`upgrade`), node adds none.
    if (headers.includes('Connection')) headers.push('Connection', 'close')
    res.sendDate = !headers.some((name, i) => i % 2 === 0 && name.toLowerCase() === 'date')
    if (reason === '') res.writeHead(status, headers)
    else res.writeHead(status, reason, headers)
    // Not `flushHeaders()`: it writes UTF-8, and bytes over 0x7f would become two.
    res.write('', 'latin1')
  }

  /** Creates the last response on this connection. */
  #begin(): ServerResponse {
    const stream = this.#stream
    const res = responseFor(this.#req)
    sendOn(stream as Socket, res)
    this.#res = res
    res.on('error', ignore).on(
      'finish',
      this.#guarded(() => {
        this.#events?.onClientDone()
        linger(stream, this.#clock)
      }),
    )
    stream.on(
      'drain',
      this.#guarded(() => {
        // node clears the flag only if its own server writes the response.
        emitDrain(res)
        if (!this.#awaitsDrain) return
        this.#awaitsDrain = false
        this.#events?.onClientDrain()
      }),
    )
    // Drop the client's bytes, but keep reading: its end must be noticed.
    this.#early = []
    stream.off('data', this.#onEarly).resume()
    return res
  }

  write(chunk: Buffer): boolean {
    const res = this.#res
    if (res === null || res.destroyed) return true
    res.write(Buffer.from(chunk))
    this.#awaitsDrain = needsDrain(res)
    return !this.#awaitsDrain
  }

  flush(): void {}

  end(trailers: HeaderList | null): void {
    if (trailers !== null) this.#res?.addTrailers(pairs(trailers))
    this.#res?.end()
  }

  abort(): void {
    this.#tunnel?.destroy()
    // Send the bytes written before the abort; node holds them back until the next tick.
    if (this.#res?.headersSent === true) while (this.#stream.writableCorked > 0) this.#stream.uncork()
    destroyGuarded(this.#stream)
  }

  upgrade(headers: HeaderList, backend: Duplex, rest: Buffer, events: TunnelEvents): Tunnel {
    const stream = this.#stream
    if (rest.length > 0) backend.unshift(rest)
    for (const one of [stream as Partial<Socket>, backend as Partial<Socket>]) {
      one.setTimeout?.(0)
      one.setNoDelay?.(true)
      one.setKeepAlive?.(true)
    }
    stream.pause().off('data', this.#onEarly)
    const isWebSocket = fieldValue(headers, 'upgrade')?.toLowerCase() === 'websocket'
    const tunnel = new Tunnel(stream, backend, isWebSocket, events)
    this.#tunnel = tunnel
    this.#tunnelEvents = events
    for (const chunk of [this.#head, ...this.#early.splice(0)]) if (chunk.length > 0) tunnel.onClientData(chunk)
    stream.write(`HTTP/1.1 101 Switching Protocols\r\n${fieldsText(headers)}\r\n`, 'latin1')
    return tunnel
  }

  /** Asks both ends of a WebSocket to close. */
  goAway(): void {
    this.#tunnel?.goAway()
  }

  /** Ends the exchange now: closing the proxy does not wait for socket events. */
  close(): void {
    if (fronts.get(this.#stream) !== this) return
    if (this.#tunnel === null) this.#guarded(() => this.#onClientClose())()
    else this.#tunnelEvents?.onTunnelClosed()
    this.abort()
  }
}

function ignore(): void {}
