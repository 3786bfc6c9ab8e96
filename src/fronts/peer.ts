import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Peer } from '../request/front.ts'

/** Looks up what is known of a client's connection; once a connection, since asking the system costs a call. */
export function peerLookup(isTrusted: (address: string) => boolean): (socket: Socket) => Peer {
  const peers = new WeakMap<Socket, Peer>()
  return (socket) => {
    let peer = peers.get(socket)
    if (peer === undefined) {
      const address = plainAddress(socket.remoteAddress ?? '')
      peer = {
        address,
        localPort: socket.localPort ?? 0,
        isSecure: (socket as Partial<TLSSocket>).encrypted === true,
        isTrusted: isTrusted(address),
      }
      peers.set(socket, peer)
    }
    return peer
  }
}

/** An IPv4 address that arrived through an IPv6 socket, as IPv4. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
