import type http from 'node:http'
import net, { type Socket } from 'node:net'
import tls from 'node:tls'
import type { ListenerTls } from '../../contracts/executor.ts'
import { recordRefusal } from '../../exchange/refusals.ts'
import type { Core } from '../../exchange/services.ts'
import { trustMatcher } from '../../headers/trust.ts'
import { ProxyError } from '../../model/errors.ts'
import type { Peer } from '../../model/peer.ts'
import { callEach, warnAbout } from '../../runtime/callbacks.ts'
import { LONGEST_MS } from '../../runtime/clock.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { CertificateTable, CHALLENGE_PROTOCOL, noteIdentity } from '../certificates.ts'
import { Http2Connection, type Http2ConnectionDeps } from '../http2/connection.ts'
import { closeAfter, emitLastBytes, tcpOf, watchConnections } from '../node-internals.ts'
import { copyRoute, readProxyHeaders } from '../proxy-header.ts'
import { AddressLimit } from './address-limit.ts'
import { SocketConnection, type SocketConnectionDeps } from './connection.ts'
import { RequestReader } from './request-reader.ts'

/** Settings of a {@link createSocketServer}. */
export interface SocketServerSettings {
  /** How long idle connections are kept, ms. */
  readonly keepAliveMs: number
  /** Uses TLS. */
  readonly tls?: ListenerTls | undefined
  /** Requests that match no route are for the server behind the socket server, and must not be refused here. */
  readonly isShared?: boolean
  /** Protocols for clients. In clear text, HTTP/2 is by prior knowledge (RFC 9113 section 3.3). */
  readonly protocols: readonly ('h2' | 'http/1.1')[]
  /** Addresses from which connections begin with a PROXY header. */
  readonly proxyProtocol?: readonly string[] | undefined
}

/** A server that reads plain requests itself, and gives every other connection to a node:http server behind it. */
export interface SocketServer extends net.Server {
  /** How many client connections are open. */
  openConnections(): number
  /** Tells the clients that speak HTTP/2 that their connections end. */
  goAway(): void
  /** Stops reading from all current and new connections until the returned function is called. */
  holdReading(): () => void
  /** The last response on each connection that was given to the server behind. */
  answers(): Iterable<http.ServerResponse>
  /**
   * Ends the connections that carry no request and would not end soon. Unlike node:http it includes those on which nothing has
   * come yet.
   */
  closeIdleConnections(): void
  closeAllConnections(): void
  /** With TLS: replaces certificates and keys for new connections. Throws, and changes nothing, if they cannot be used. */
  changeTls?(next: ListenerTls): void
}

/** As much as node reads at once. */
const READ_BUFFER_BYTES = 65_536
/** Added to the time that clients are told: a client that keeps to it must not meet a connection that is just being closed. */
const KEEP_ALIVE_MARGIN_MS = 1_000

/**
 * Creates a socket server.
 * @param behind gets the connections that the socket server does not want, starting with the unwanted request. It never listens
 * itself; its 'clientError' responds to input that cannot be read.
 */
export function createSocketServer(
  core: Core,
  peerOf: (socket: Socket) => Peer,
  behind: http.Server,
  settings: SocketServerSettings,
): SocketServer {
  const { services } = core
  const { activity, clock, logger } = services
  const { limits } = core.snapshot
  const connections = new Set<SocketConnection>()
  const sessions = new Set<Http2Connection>()
  /** Connections that were given away, with the last response on each. */
  const others = new Map<Socket, http.ServerResponse | null>()
  /** TCP connections whose TLS handshake is not finished. */
  const handshakes = new Set<Socket>()
  const { maxConnectionsPerAddress } = limits
  const addresses = maxConnectionsPerAddress === 0 ? null : new AddressLimit(maxConnectionsPerAddress, peerOf, logger)
  let isHeld = false
  let isGoing = false
  let dateSecond = -1
  let dateText = ''

  const deps: SocketConnectionDeps = {
    core,
    reader: new RequestReader(limits, () => core.snapshot.forwarding.requestHeaders),
    readBuffer: Buffer.allocUnsafeSlow(READ_BUFFER_BYTES),
    // A whole request includes its head.
    headMs: smallestLimit(limits.headTimeoutMs, limits.requestTimeoutMs),
    keepAliveMs: settings.keepAliveMs + KEEP_ALIVE_MARGIN_MS,
    keepAliveText: `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(settings.keepAliveMs / 1000)}\r\n\r\n`,
    get isClosing() {
      return activity.isClosing
    },
    isShared: settings.isShared === true,
    date() {
      const second = Math.floor(clock.epoch() / 1000)
      if (second !== dateSecond) {
        dateSecond = second
        dateText = new Date(second * 1000).toUTCString()
      }
      return dateText
    },
    onHandOver(connection, bytes, hasEnded) {
      const { socket } = connection
      if (settings.tls === undefined && takesHttp2 && startsHttp2(bytes)) {
        connections.delete(connection)
        return beginSession(socket, bytes)
      }
      giveAway(connection)
      if (bytes.length > 0 && !hasEnded) socket.unshift(bytes)
      behind.emit('connection', socket)
      if (hasEnded) emitLastBytes(socket, bytes)
    },
    onFault(connection, error, known) {
      giveAway(connection)
      if (!behind.emit('clientError', error, connection.socket, known)) connection.socket.destroy()
    },
    onClosed: (connection) => void connections.delete(connection),
  }

  const takesHttp1 = settings.protocols.includes('http/1.1')
  const takesHttp2 = settings.protocols.includes('h2')
  const sessionDeps: Http2ConnectionDeps = {
    core,
    headMs: deps.headMs,
    keepAliveMs: settings.keepAliveMs,
    isShared: deps.isShared,
    date: () => deps.date(),
    onBridge: (bridge) => void behind.emit('connection', bridge),
    onClosed: (session) => void sessions.delete(session),
  }

  function giveAway(connection: SocketConnection): void {
    const { socket } = connection
    connections.delete(connection)
    others.set(socket, null)
    socket.once('close', () => others.delete(socket))
  }

  function beginSession(socket: Socket, first: Buffer | null): void {
    const session = new Http2Connection(sessionDeps, socket, peerOf(socket), first)
    sessions.add(session)
    if (isGoing) session.retire()
  }

  /** Connections whose PROXY header has not come. */
  let headerless: ReadonlySet<Socket> = new Set()

  function openConnections(): number {
    return connections.size + sessions.size + others.size + handshakes.size + headerless.size
  }

  function hasRoomFor(socket: Socket): boolean {
    return hasRoom(socket) && (addresses === null || addresses.takes(socket))
  }

  function hasRoom(socket: Socket): boolean {
    const { maxConnections } = limits
    const open = openConnections()
    if (maxConnections === 0 || open < maxConnections) return true
    const message = `closed a connection: ${open} are open, and limits.maxConnections is ${maxConnections}`
    const error = new ProxyError('ERR_PROXY_CONNECTION_LIMIT', message)
    const clientAddress = peerOf(socket).address
    recordRefusal(services, { error, clientAddress, request: null, status: 0, responseBytes: 0 })
    socket.destroy()
    return false
  }

  function accept(socket: Socket): void {
    if (!hasRoomFor(socket)) return
    // Also needed for a socket that another thread has accepted.
    socket.allowHalfOpen = true
    begin(socket)
  }

  function acceptSecure(socket: tls.TLSSocket): void {
    const tcp = tcpOf(socket)
    handshakes.delete(tcp)
    copyRoute(tcp, socket)
    // The authority has seen the certificate, and wants no more.
    if (socket.alpnProtocol === CHALLENGE_PROTOCOL) return socket.destroySoon()
    socket.allowHalfOpen = true
    if (certificates?.asksClients === true) noteIdentity(socket, certificates.identify(socket))
    begin(socket)
  }

  function begin(socket: Socket): void {
    const isSecure = settings.tls !== undefined
    if (isSecure ? (socket as tls.TLSSocket).alpnProtocol === 'h2' : !takesHttp1) return beginSession(socket, null)
    const connection = new SocketConnection(deps, socket, peerOf(socket))
    connections.add(connection)
    if (isHeld) connection.hold()
  }

  function holdReading(): () => void {
    isHeld = true
    for (const connection of connections) connection.hold()
    return () => {
      isHeld = false
      for (const connection of connections) connection.release()
    }
  }

  function beginHandshake(socket: Socket): void {
    if (!hasRoomFor(socket)) return
    handshakes.add(socket)
    socket.once('close', () => handshakes.delete(socket))
  }

  function noteResponse({ socket }: http.IncomingMessage, res: http.ServerResponse): void {
    if (deps.isClosing) closeAfter(res)
    else if (others.has(socket)) others.set(socket, res)
  }

  const certificates = settings.tls === undefined ? null : new CertificateTable(settings.tls)
  const server: net.Server =
    certificates === null
      ? net.createServer({ allowHalfOpen: true, noDelay: true }, accept)
      : secureServer(certificates.options(settings.protocols))

  function secureServer(given: tls.TlsOptions): tls.Server {
    const handshakeTimeout = limits.headTimeoutMs || LONGEST_MS
    // Half-open only after the handshake: before that, node would not notice that a client has gone.
    const options = {
      noDelay: true,
      handshakeTimeout,
      ...given,
      allowHalfOpen: false,
    }
    return tls
      .createServer(options, acceptSecure)
      .on('connection', beginHandshake)
      .on('tlsClientError', (error, socket) => {
        logger.debug({ client: socket.remoteAddress }, `a client's TLS handshake failed: ${describeError(error)}`)
        socket.destroy()
      })
  }

  if (settings.proxyProtocol !== undefined) {
    headerless = readProxyHeaders(server, {
      clock,
      isExpected: trustMatcher(settings.proxyProtocol),
      hasRoom,
      onFault(socket, fault) {
        const clientAddress = peerOf(socket).address
        const message = `closed a connection from ${clientAddress || 'a unix socket'}: ${fault}; proxyProtocol says that it has one`
        const error = new ProxyError('ERR_PROXY_BAD_REQUEST', message)
        recordRefusal(services, { error, clientAddress, request: null, status: 0, responseBytes: 0 })
      },
    })
  }

  watchConnections(behind)
  for (const event of ['request', 'checkContinue']) {
    if (behind.listenerCount(event) > 0) behind.prependListener(event, noteResponse)
  }
  server.on('close', () => behind.close())
  server.on('error', (error) => {
    if (server.listening) logger.warn({ err: error }, `a connection could not be accepted: ${describeError(error)}`)
  })

  function closeIdleConnections(): void {
    const idle = Array.from(connections).filter((one) => one.isIdle && !one.endsSoon)
    destroyAll(idle.map(({ socket }) => socket))
    for (const session of sessions) if (session.isIdle) session.end()
    destroyAll(handshakes)
    destroyAll(headerless)
    behind.closeIdleConnections()
  }

  return Object.assign(server, {
    ...(server instanceof tls.Server && {
      changeTls: (next: ListenerTls) => certificates?.replace(next, server),
    }),
    openConnections,
    holdReading,
    goAway() {
      isGoing = true
      for (const session of sessions) session.retire()
    },
    answers: () => Array.from(others.values()).filter((answer) => answer !== null),
    closeIdleConnections,
    closeAllConnections() {
      destroyAll(Array.from(connections, ({ socket }) => socket))
      destroyAll(Array.from(sessions, ({ socket }) => socket))
      destroyAll(others.keys())
      destroyAll(handshakes)
      destroyAll(headerless)
    },
  }) as SocketServer
}

/** What an HTTP/1.1 parser makes of the preface of HTTP/2 (RFC 9113 section 3.4): a request. */
const HTTP2_REQUEST = Buffer.from('PRI * HTTP/2.0\r\n\r\n', 'latin1')

function startsHttp2(bytes: Buffer): boolean {
  return bytes.subarray(0, HTTP2_REQUEST.length).equals(HTTP2_REQUEST)
}

/** Destroys all sockets. Listeners that an application has put on a socket may throw. */
function destroyAll(sockets: Iterable<Socket>): void {
  callEach(sockets, (socket) => socket.destroy(), warnAbout('a connection that was destroyed'))
}

/** The smaller of two limits; 0 means no limit. */
function smallestLimit(one: number, other: number): number {
  return one === 0 || other === 0 ? one + other : Math.min(one, other)
}
