import type { Socket } from 'node:net'
import type { Logger } from '../../contracts/logger.ts'
import type { Peer } from '../../model/peer.ts'

/** Counts the open connections of each client address. */
export class AddressLimit {
  readonly #max: number
  readonly #peerOf: (socket: Socket) => Peer
  readonly #logger: Logger
  readonly #open = new Map<string, number>()

  constructor(max: number, peerOf: (socket: Socket) => Peer, logger: Logger) {
    this.#max = max
    this.#peerOf = peerOf
    this.#logger = logger
  }

  /** @returns whether the client may have one more connection; if not, `socket` is closed. */
  takes(socket: Socket): boolean {
    const { address, isTrusted } = this.#peerOf(socket)
    // Behind a trusted proxy there are many clients, and a unix socket has no address.
    if (isTrusted || address === '') return true
    const key = networkOf(address)
    const open = this.#open.get(key) ?? 0
    if (open >= this.#max) {
      this.#logger.debug({ client: address }, `closed a connection: limits.maxConnectionsPerAddress is ${this.#max}`)
      socket.destroy()
      return false
    }
    this.#open.set(key, open + 1)
    socket.once('close', () => {
      const left = (this.#open.get(key) ?? 1) - 1
      if (left === 0) this.#open.delete(key)
      else this.#open.set(key, left)
    })
    return true
  }
}

/**
 * Returns an IPv4 address unchanged, and of an IPv6 address the first 64 bits: the owner of one address has that whole network.
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [left = '', right] = (address.split('%')[0] ?? '').split('::')
  const head = left === '' ? [] : left.split(':')
  // The zeros of `::` end where the right part begins. Only the first four groups count.
  const tail = right === undefined || right === '' ? [] : right.split(':')
  const tailGroups = tail.length + (right?.includes('.') === true ? 1 : 0)
  const zeros = right === undefined ? 0 : Math.max(0, 8 - head.length - tailGroups)
  const groups = [...head, ...Array<string>(zeros).fill('0'), ...tail].slice(0, 4)
  return `${groups.map((group) => group.replace(/^0+(?=.)/, '').toLowerCase()).join(':')}::/64`
}
