import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { parseAddress } from '../headers/address.ts'
import type { Peer } from '../model/peer.ts'

/** Looks up the facts about a client's connection; once per connection, since asking the system costs a call. */
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

/** The client's address as text; empty for a unix socket and for a closed one. */
export function addressOf(socket: Socket): string {
  return parseAddress(socket.remoteAddress ?? '') ?? ''
}

/** Whether the socket has no address because it needs none (a unix socket), and not because it is closed. */
function isLocal(socket: Socket): boolean {
  return !socket.destroyed && socket.remoteAddress === undefined && socket.localAddress === undefined
}
