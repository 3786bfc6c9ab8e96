import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { tcpOf } from './node-internals.ts'

/**
 * Resets the TCP connection at once; on one that is already sending its FIN, only lets it go: node answers such a reset with an
 * `error` of EINVAL and never closes the socket (seen in 22.12 to 26.10).
 */
export function reset(socket: Socket): void {
  const tcp = tcpOf(socket)
  // Of a TLS socket whose own is not to be had, node would throw.
  if (tcp.writableEnded || tcp instanceof TLSSocket) tcp.destroy()
  else tcp.resetAndDestroy()
}

/** A stream of the application's may throw even here, or be none. */
export function destroyGuarded(stream: { destroy(): unknown }): void {
  try {
    stream.destroy()
  } catch {
    // There is nothing left that could be done with it.
  }
}
