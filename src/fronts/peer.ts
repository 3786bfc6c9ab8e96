import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { parseAddress } from '../headers/address.ts'
import type { Peer } from '../model/peer.ts'
import { identityOf } from './certificates.ts'

/** Looks up the facts about a client's connection; once per connection, since asking the system costs a call. */
export function peerLookup(isTrusted: (address: string) => boolean): (socket: Socket) => Peer {
  const peers = new WeakMap<Socket, Peer>()
  return (socket) => {
    let peer = peers.get(socket)
    if (peer === undefined) {
      const address = addressOf(socket)
      const identity = identityOf(socket)
      peer = {
        address,
        localPort: socket.localPort ?? 0,
        isSecure: (socket as Partial<TLSSocket>).encrypted === true,
        isTrusted: isTrusted(address),
        ...(identity !== undefined && { identity }),
      }
      peers.set(socket, peer)
    }
    return peer
  }
}

/**
 * The client's address as text; empty for a unix socket, and `unknown` (RFC 7239 section 6.2) if the client has closed the connection
 * before we asked. A client can arrange that for a request of its own: it must not pass for a unix socket.
 */
export function addressOf(socket: Socket): string {
  return parseAddress(socket.remoteAddress ?? '') ?? (isLocal(socket) ? '' : 'unknown')
}

/** Whether the socket has no address because it needs none (a unix socket), and not because it is closed. */
function isLocal(socket: Socket): boolean {
  return !socket.destroyed && socket.remoteAddress === undefined && socket.localAddress === undefined
}
