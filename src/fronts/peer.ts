import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { parseAddress } from '../headers/address.ts'
import type { Peer } from '../model/peer.ts'

/** Looks up what is known of a client's connection; once a connection, since asking the system costs a call. */
export function peerLookup(isTrusted: (address: string) => boolean): (socket: Socket) => Peer {
  const peers = new WeakMap<Socket, Peer>()
  return (socket) => {
    let peer = peers.get(socket)
    if (peer === undefined) {
      const address = addressOf(socket)
      peer = {
        address,
        localPort: socket.localPort ?? 0,
        isSecure: (socket as Partial<TLSSocket>).encrypted === true,
        isTrusted: (address !== '' || isLocal(socket)) && isTrusted(address),
      }
      peers.set(socket, peer)
    }
    return peer
  }
}

/** The client's address as text; empty for a unix socket, and for one that is over. */
export function addressOf(socket: Socket): string {
  return parseAddress(socket.remoteAddress ?? '') ?? ''
}

/** Whether it has no address since it needs none (a unix socket), and not since it is over already. */
function isLocal(socket: Socket): boolean {
  return !socket.destroyed && socket.remoteAddress === undefined && socket.localAddress === undefined
}
