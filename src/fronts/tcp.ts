import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { tcpOf } from './node-internals.ts'

/**
 * Resets the TCP connection at once. A connection that is already sending its FIN is only destroyed: node reports such a reset
 * with an `error` of EINVAL and never closes the socket (seen in 22.12 to 26.10).
 */
export function reset(socket: Socket): void {
  const tcp = tcpOf(socket)
  // node would throw for a TLS socket whose TCP socket is not available.
  if (tcp.writableEnded || tcp instanceof TLSSocket) tcp.destroy()
  else tcp.resetAndDestroy()
}

/** Destroys a stream. An application's stream may throw even here, or may not be a stream at all. */
export function destroyGuarded(stream: { destroy(): unknown }): void {
  try {
    stream.destroy()
  } catch {
    // Nothing more can be done with it.
  }
}
