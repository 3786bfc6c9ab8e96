import type { Socket } from 'node:net'

/** The TCP socket under a TLS one; itself, where it is one. */
export function tcpOf(socket: Socket): Socket {
  return (socket as { _parent?: Socket | null })._parent ?? socket
}
