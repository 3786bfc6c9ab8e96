import { EventEmitter } from 'node:events'
import { Agent, type ClientRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { createProxyServer } from 'http-proxy-3'
import { type ResponseBounds, ResponseParser } from '../../http1/response-parser.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { RequestHead } from '../../model/message.ts'

/**
 * Asks a backend for an upgrade over `socket`, which is connected.
 * @returns the request, without listeners: its `upgrade`, `response` and `error` are the caller's.
 * Throws for a head that cannot be sent.
 */
export type Carrier = (head: RequestHead, socket: Socket, bounds: ResponseBounds) => ClientRequest

/** Gives out one connection that is there already. */
class OneConnection extends Agent {
  readonly #socket: Socket

  constructor(socket: Socket) {
    super()
    this.#socket = socket
  }

  override createConnection(): Socket {
    return this.#socket
  }
}

/**
 * The only user of http-proxy-3, which asks for the upgrade. It gets private copies of all that it could write to, and a stand-in
 * for the client's connection: what it would do there on failure (close it without a response), with a refusal (send it on without
 * backpressure, truncated or not) and with the head of a 101 (write it in UTF-8) is done by the exchange. Connections are the pool's.
 */
export function createCarrier(): Carrier {
  const carrier = createProxyServer({})
  // The request tells of its errors itself; and http-proxy-3's own listener throws if it is the only one.
  carrier.on('error', () => {})
  let begun: ClientRequest | null = null
  let path = ''
  carrier.on('proxyReqWs', (request: ClientRequest) => {
    begun = request
    // The last moment before it is sent; http-proxy-3 would have joined slashes and dropped a lone question mark.
    request.path = path
    // node would drop headers past a number of 1000, silently; the bound is on the bytes of the head.
    request.maxHeadersCount = 0
  })

  return (head, socket, { maxResponseHeadBytes }) => {
    const standIn = Object.assign(new EventEmitter(), { setTimeout() {}, setNoDelay() {}, setKeepAlive() {} })
    // It lets only GET and WebSocket through: all come under these names, and have their own in the options.
    const view = {
      method: 'GET',
      url: '/',
      httpVersion: '1.1',
      httpVersionMajor: 1,
      headers: { ...headerRecord(head.headers), connection: 'Upgrade', upgrade: 'websocket' },
      socket: standIn,
      connection: standIn,
    }
    const options = {
      // TLS is the connection's business, as its address is.
      target: { protocol: 'http:', host: 'localhost', hostname: 'localhost', port: 80 },
      agent: new OneConnection(socket),
      // The base of the request's options; it writes into it, so it is new each time.
      ssl: { maxHeaderSize: maxResponseHeadBytes, insecureHTTPParser: false },
      method: head.method,
      headers: { upgrade: head.upgrade },
    }
    begun = null
    path = head.path
    try {
      carrier.ws(view as unknown as IncomingMessage, standIn as unknown as Socket, options as never, () => {})
    } finally {
      // It counts open sockets until they close.
      standIn.emit('close')
    }
    const request = begun as ClientRequest | null
    begun = null
    if (request === null) throw new TypeError('http-proxy-3 made no request')
    for (const event of ['upgrade', 'response', 'error']) request.removeAllListeners(event)
    return request
  }
}

/**
 * Reads the head of a response along with node's client, and returns the first thing in it that is not strictly HTTP, or
 * `null`: node takes `Transfer-Encoding: gzip, chunked`, control characters in the reason and statuses under 100.
 */
export function createHeadCheck(method: string, bounds: ResponseBounds): (bytes: Buffer) => string | null {
  const parser = new ResponseParser({ onInformational() {}, onHead() {}, onData() {} }, bounds)
  parser.start(method, true)
  return (bytes) => {
    if (parser.hasHead) return null
    // A copy: chunks that follow the head are joined in place, and node's client reads the same bytes.
    const read = parser.execute(Buffer.from(bytes), 0, bytes.length)
    return read < 0 && !parser.hasHead ? parser.fault : null
  }
}

/** By name as received; repeated ones are a list, which becomes separate lines again. */
function headerRecord(list: Readonly<HeaderList>): Record<string, string | string[]> {
  const names = new Map<string, string>()
  const record: Record<string, string | string[]> = Object.create(null)
  for (let i = 0; i < list.length; i += 2) {
    const lower = (list[i] as string).toLowerCase()
    const name = names.get(lower) ?? (list[i] as string)
    const value = list[i + 1] as string
    const before = record[name]
    names.set(lower, name)
    if (Array.isArray(before)) before.push(value)
    else record[name] = before === undefined ? value : [before, value]
  }
  return record
}
