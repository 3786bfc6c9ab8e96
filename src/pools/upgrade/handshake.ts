import { EventEmitter } from 'node:events'
import { Agent, type ClientRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { createProxyServer } from 'http-proxy-3'
import { type ResponseBounds, ResponseParser } from '../../http1/response-parser.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { Carrier } from '../settings.ts'

/** An agent that hands out one existing connection. */
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
 * The only user of http-proxy-3, which asks for the upgrade. It gets private copies of everything that it could write to, and a
 * stand-in for the client's connection. The exchange serves the client instead: on failure http-proxy-3 would close it without a
 * response, it would pass a refusal on without backpressure, truncated or not, and it would write the head of a 101 in UTF-8. The
 * pool owns the connections.
 */
export function createCarrier(): Carrier {
  const carrier = createProxyServer({})
  // The request reports its errors itself, and http-proxy-3's own listener throws if it is the only one.
  carrier.on('error', () => {})
  let begun: ClientRequest | null = null
  let path = ''
  carrier.on('proxyReqWs', (request: ClientRequest) => {
    begun = request
    // The last moment before the request is sent. http-proxy-3 would have joined slashes and dropped a lone question mark.
    request.path = path
    // node would silently drop headers after the first 1000. Our limit is on the bytes of the head.
    request.maxHeadersCount = 0
  })

  return (head, socket, { maxResponseHeadBytes }) => {
    const standIn = Object.assign(new EventEmitter(), { setTimeout() {}, setNoDelay() {}, setKeepAlive() {} })
    // http-proxy-3 lets only GET and WebSocket through. All requests use these names here, and have their own in the options.
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
      // The connection already has its TLS and its address.
      target: { protocol: 'http:', host: 'localhost', hostname: 'localhost', port: 80 },
      agent: new OneConnection(socket),
      // The base of the request's options. http-proxy-3 writes into it, so it is new each time.
      ssl: { maxHeaderSize: maxResponseHeadBytes, insecureHTTPParser: false },
      method: head.method,
      headers: { upgrade: head.upgrade },
    }
    begun = null
    path = head.path
    try {
      carrier.ws(view as unknown as IncomingMessage, standIn as unknown as Socket, options as never, () => {})
    } finally {
      // http-proxy-3 counts open sockets until they close.
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
 * Returns a function that reads the head of a response along with node's client. It returns the first thing that is not strictly
 * HTTP, or `null`: node accepts `Transfer-Encoding: gzip, chunked`, control characters in the reason and statuses under 100.
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

/** Headers by their names as received. Repeated ones are a list, which becomes separate lines again. */
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
