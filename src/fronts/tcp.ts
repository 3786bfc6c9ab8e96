import type { Socket } from 'node:net'

/** The TCP socket under a TLS one; itself, where it is one. */
export function tcpOf(socket: Socket): Socket {
  return (socket as { _parent?: Socket | null })._parent ?? socket
}

/**
 * Resets the TCP connection at once; on one that is already sending its FIN, only lets it go: node answers such a reset with an
 * `error` of EINVAL and never closes the socket (seen in 22.12 to 26.10).
 */
export function reset(socket: Socket): void {
  const tcp = tcpOf(socket)
  if (tcp.writableEnded) tcp.destroy()
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
