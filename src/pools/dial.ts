import net from 'node:net'
import tls from 'node:tls'
import type { SetupTimes } from '../contracts/pool.ts'
import type { Backend, Endpoint } from '../model/backend.ts'
import { connectError, ProxyError } from '../model/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import { describeError } from '../runtime/describe-error.ts'
import { longerAttemptMs } from '../runtime/slow-addresses.ts'
import { withProxyHeader } from './proxy-header.ts'

/** A connection that is being set up. */
export interface Dialled {
  /** Reads into a buffer of its own. */
  readonly onread?: net.OnReadOpts
  /** Protocols to offer by ALPN, the best first. */
  readonly protocols: readonly string[]
  /** Address of the client, for the PROXY header of a backend that wants one. */
  readonly client?: string
  /** Our side may continue after the backend has ended its own. */
  readonly allowHalfOpen?: boolean
  /** Time left of the limit on connecting, ms; below 0: the connection is no longer wanted. */
  leftMs(): number
  /** Called before anything happens on the socket; a second time if addresses were given up too early. */
  onSocket(socket: net.Socket): void
  onConnected(setup: SetupTimes): void
  onSetupFailed(error: ProxyError): void
}

/** The latest TLS session of each endpoint. To resume it costs both sides less than half of a full handshake. */
const sessions = new WeakMap<Endpoint, Buffer>()

/**
 * Connects to a backend, and retries once if an address was cut short ({@link longerAttemptMs}).
 * @throws the error that node throws for an unreadable certificate.
 */
export function dial(backend: Backend, clock: Clock, dialled: Dialled): void {
  const startedAt = clock.now()
  const attempt = (attemptMs: number): void => {
    const socket = connect(backend.endpoint, dialled, attemptMs)
    let connectedAt = startedAt
    let isReady = false
    dialled.onSocket(socket)
    // node emits it when it has verified the certificate.
    socket.on('session', (session: Buffer) => sessions.set(backend.endpoint, session))
    socket.once('connect', () => {
      connectedAt = clock.now()
    })
    socket.once(backend.endpoint.isSecure ? 'secureConnect' : 'connect', () => {
      isReady = true
      const tlsMs = backend.endpoint.isSecure ? clock.now() - connectedAt : 0
      dialled.onConnected({ connectMs: connectedAt - startedAt, tlsMs })
    })
    socket.on('error', (error) => {
      if (isReady) return
      // It may be the session that the backend cannot take.
      sessions.delete(backend.endpoint)
      const leftMs = attemptMs === 0 ? dialled.leftMs() : -1
      const longerMs = leftMs < 0 ? 0 : longerAttemptMs(error, leftMs)
      if (longerMs > 0) attempt(longerMs)
      else dialled.onSetupFailed(setupError(backend, error))
    })
  }
  attempt(0)
}

/** Protocols to offer to a backend by ALPN, the best first. In clear text there is nothing to choose by: `auto` is HTTP/1.1. */
export function protocolsOf({ protocol, isSecure }: Endpoint): readonly string[] {
  if (protocol !== 'auto') return [protocol]
  return isSecure ? ['h2', 'http/1.1'] : ['http/1.1']
}

/** Whether a connection that was set up speaks HTTP/2; in clear text that is agreed beforehand. */
export function hasChosenHttp2(socket: net.Socket, { isSecure }: Endpoint): boolean {
  return !isSecure || (socket as tls.TLSSocket).alpnProtocol === 'h2'
}

/** Opens a connection, whose first bytes are the PROXY header if the backend wants one. */
export function connect(
  endpoint: Endpoint,
  { onread, protocols, allowHalfOpen, client = '' }: Pick<Dialled, 'onread' | 'protocols' | 'allowHalfOpen' | 'client'>,
  attemptMs: number,
): net.Socket {
  const { isSecure, hostname, port, socketPath, servername, tls: settings, proxyProtocol } = endpoint
  const where = socketPath === null ? { host: hostname, port } : { path: socketPath }
  const options = {
    ...where,
    ...(attemptMs > 0 && { autoSelectFamilyAttemptTimeout: attemptMs }),
    ...(onread !== undefined && { onread }),
    ...(allowHalfOpen === true && { allowHalfOpen }),
  }
  if (!isSecure) {
    const socket = net.connect(options).setNoDelay(true)
    return proxyProtocol === null ? socket : withProxyHeader(socket, proxyProtocol, client)
  }
  // `onread` is documented for tls.connect; its type lacks it.
  const session = sessions.get(endpoint)
  const secure = { ...(settings as tls.ConnectionOptions), servername, ALPNProtocols: [...protocols], session }
  if (proxyProtocol === null) return tls.connect({ ...options, ...secure } as tls.ConnectionOptions).setNoDelay(true)
  // The header comes before TLS, so the connection below must be ours.
  const { onread: _, ...plain } = options
  const tcp = withProxyHeader(net.connect(plain).setNoDelay(true), proxyProtocol, client)
  const socket = tls.connect({ ...secure, ...(allowHalfOpen === true && { allowHalfOpen }), socket: tcp })
  tcp.on('error', (error) => socket.destroy(error))
  socket.on('close', () => tcp.destroy())
  if (onread !== undefined) readInto(socket, onread)
  return socket
}

/** `onread` for a TLS socket on a connection of ours: node leaves the option out then. */
function readInto(socket: tls.TLSSocket, { buffer, callback }: net.OnReadOpts): void {
  socket.on('data', (chunk: Buffer) => {
    for (let i = 0; i < chunk.length; ) {
      const into = typeof buffer === 'function' ? buffer() : buffer
      const length = chunk.copy(into, 0, i)
      i += length
      if (!callback(length, into)) socket.pause()
    }
  })
}

/** OpenSSL's own text for these says neither what is wrong nor where. */
const TLS_FAULTS: Readonly<Record<string, string>> = {
  ERR_SSL_WRONG_VERSION_NUMBER: 'its response is not TLS; is it an http:// backend?',
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
    "it takes none of the protocols that were offered (ALPN); is its protocol 'http/1.1', 'h2' or 'auto'?",
}

function setupError(backend: Backend, error: NodeJS.ErrnoException): ProxyError {
  if (!isTlsError(error)) return connectError(backend, error)
  const known = TLS_FAULTS[error.code ?? '']
  const text = known === undefined ? describeError(error) : `${known} (${error.code})`
  const message = `cannot connect to backend ${backend.id}: ${text}`
  return new ProxyError('ERR_PROXY_TLS', message, { backend, cause: error })
}

/**
 * Whether an error comes from OpenSSL or from node's certificate check, not from the system (`ECONNREFUSED` and the like, which
 * have a `syscall`).
 */
function isTlsError(error: NodeJS.ErrnoException): boolean {
  // A peer without TLS may show up as a failed write.
  if (error.code === 'EPROTO') return true
  return error.syscall === undefined && error.code !== 'ECONNRESET' && !(error instanceof AggregateError)
}
