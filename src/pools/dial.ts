import net from 'node:net'
import tls from 'node:tls'
import type { SetupTimes } from '../contracts/pool.ts'
import type { Backend, Endpoint } from '../model/backend.ts'
import { connectError, ProxyError } from '../model/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import { describeError } from '../runtime/describe-error.ts'
import { longerAttemptMs } from '../runtime/slow-addresses.ts'

/** A connection that is being set up. */
export interface Dialled {
  /** Reads into a buffer of its own. */
  readonly onread?: net.OnReadOpts
  /** Protocols to offer by ALPN, the best first. */
  readonly protocols: readonly string[]
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

function connect(endpoint: Endpoint, { onread, protocols, allowHalfOpen }: Dialled, attemptMs: number): net.Socket {
  const { isSecure, hostname, port, socketPath, servername, tls: settings } = endpoint
  const where = socketPath === null ? { host: hostname, port } : { path: socketPath }
  const options = {
    ...where,
    ...(attemptMs > 0 && { autoSelectFamilyAttemptTimeout: attemptMs }),
    ...(onread !== undefined && { onread }),
    ...(allowHalfOpen === true && { allowHalfOpen }),
  }
  if (!isSecure) return net.connect(options).setNoDelay(true)
  // `onread` is documented for tls.connect; its type lacks it.
  const session = sessions.get(endpoint)
  const secure = { ...(settings as tls.ConnectionOptions), servername, ALPNProtocols: [...protocols], session }
  return tls.connect({ ...options, ...secure } as tls.ConnectionOptions).setNoDelay(true)
}

function setupError(backend: Backend, error: NodeJS.ErrnoException): ProxyError {
  if (!isTlsError(error)) return connectError(backend, error)
  const isPlain = error.code === 'ERR_SSL_WRONG_VERSION_NUMBER'
  const text = isPlain ? `its response is not TLS; is it an http:// backend? (${error.code})` : describeError(error)
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
