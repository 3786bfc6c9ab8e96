import net, { isIPv4, isIPv6, type Socket } from 'node:net'
import { parseAddress } from '../headers/address.ts'
import type { Clock } from '../runtime/clock.ts'
import { addressOf } from './peer.ts'

/** The addresses that a PROXY header names. */
interface Route {
  readonly remoteAddress: string
  readonly remotePort: number
  readonly localAddress: string
  readonly localPort: number
}

/** A PROXY header. */
export interface ProxyHeader {
  /** Bytes. */
  readonly length: number
  /** `null`: those of the connection itself hold (LOCAL, UNKNOWN, a unix socket). */
  readonly route: Route | null
}

const MAX_V1_BYTES = 107
const V1 = Buffer.from('PROXY ', 'latin1')
const V2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const V2_HEAD_BYTES = 16
/** Of the part of a header of version 2 that follows its 16 bytes. */
const MAX_V2_BYTES = 4096
const V1_LINE = /^PROXY (?:UNKNOWN(?: .*)?|(TCP[46]) (\S+) (\S+) (\d{1,5}) (\d{1,5}))$/

/**
 * Reads a header of the PROXY protocol, version 1 or 2, at the start of `bytes`.
 * @returns `null` if more bytes are needed; a text if there is none, to follow "closed a connection: it began with".
 */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | string | null {
  if (startsLike(bytes, V1)) return bytes.length < V1.length ? null : parseV1(bytes)
  if (startsLike(bytes, V2)) return bytes.length < V2_HEAD_BYTES ? null : parseV2(bytes)
  return 'something else than a PROXY header'
}

function startsLike(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}

function parseV1(bytes: Buffer): ProxyHeader | string | null {
  const end = bytes.subarray(0, MAX_V1_BYTES).indexOf('\r\n')
  if (end < 0) return bytes.length < MAX_V1_BYTES ? null : `a PROXY header of more than ${MAX_V1_BYTES} bytes`
  const length = end + 2
  const found = V1_LINE.exec(bytes.toString('latin1', 0, end))
  if (found === null) return 'a malformed PROXY header'
  const [, family, from = '', to = '', fromPort, toPort] = found
  if (family === undefined) return { length, route: null }
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6
  const ports = [Number(fromPort), Number(toPort)] as const
  if (!isAddress(from) || !isAddress(to) || Math.max(...ports) > 65_535) return 'a malformed PROXY header'
  return { length, route: routeOf(from, to, ...ports) }
}

function parseV2(bytes: Buffer): ProxyHeader | string | null {
  const version = (bytes[12] as number) >> 4
  const command = (bytes[12] as number) & 15
  if (version !== 2 || command > 1) return 'a PROXY header of another version, or with an unknown command'
  const size = bytes.readUInt16BE(14)
  if (size > MAX_V2_BYTES) return `a PROXY header of more than ${V2_HEAD_BYTES} + ${MAX_V2_BYTES} bytes`
  const length = V2_HEAD_BYTES + size
  if (bytes.length < length) return null
  const isLocal = command === 0
  // What follows the addresses (TLVs) is skipped.
  const body = bytes.subarray(V2_HEAD_BYTES, length)
  switch (bytes[13]) {
    case 0x11:
      if (size < 12) return 'a PROXY header that is too short for its addresses'
      return { length, route: isLocal ? null : routeAt(body, 4) }
    case 0x21:
      if (size < 36) return 'a PROXY header that is too short for its addresses'
      return { length, route: isLocal ? null : routeAt(body, 16) }
    // Not specified; a unix socket.
    case 0x00:
    case 0x31:
      return { length, route: null }
    default:
      return isLocal ? { length, route: null } : 'a PROXY header for something else than TCP'
  }
}

/** @param width of an address, bytes. */
function routeAt(body: Buffer, width: 4 | 16): Route {
  const textOf = (at: number): string => {
    const bytes = body.subarray(at, at + width)
    return width === 4 ? bytes.join('.') : (bytes.toString('hex').match(/.{4}/g) ?? []).join(':')
  }
  return routeOf(textOf(0), textOf(width), body.readUInt16BE(2 * width), body.readUInt16BE(2 * width + 2))
}

function routeOf(remote: string, local: string, remotePort: number, localPort: number): Route {
  return { remoteAddress: canonical(remote), remotePort, localAddress: canonical(local), localPort }
}

/** An address in the form in which the system gives those of connections. */
function canonical(address: string): string {
  if (isIPv4(address)) return address
  return parseAddress(new net.SocketAddress({ address, family: 'ipv6' }).address) ?? address
}

/** How long a header may take, ms. */
const HEADER_MS = 3_000

/** What {@link readProxyHeaders} asks and tells. */
export interface ProxyHeaderOwner {
  readonly clock: Clock
  /** Whether connections from this address begin with a header. */
  isExpected(address: string): boolean
  /** @returns whether there is room for one more connection; if not, it is closed. */
  hasRoom(socket: Socket): boolean
  /** `fault` is a sentence. The connection is closed after it. */
  onFault(socket: Socket, fault: string): void
}

/**
 * Makes a server read the PROXY header of each connection before its own listeners of 'connection' see it; for them, and for all
 * that comes later, the addresses of the socket are those of the header. To be called before anybody else listens.
 * @returns the connections whose header has not come.
 */
export function readProxyHeaders(server: net.Server, owner: ProxyHeaderOwner): ReadonlySet<Socket> {
  const pending = new Set<Socket>()
  const listeners = server.listeners('connection') as ((socket: Socket) => void)[]
  const accept = (socket: Socket): void => {
    for (const listener of listeners) listener.call(server, socket)
  }
  server.removeAllListeners('connection').on('connection', (socket: Socket) => {
    if (!owner.isExpected(addressOf(socket))) return accept(socket)
    if (!owner.hasRoom(socket)) return
    pending.add(socket)
    readOne(socket, owner, () => {
      pending.delete(socket)
      if (!socket.destroyed) accept(socket)
    })
  })
  return pending
}

/** @param done called once, with the socket as it would be without the header, or destroyed. */
function readOne(socket: Socket, owner: ProxyHeaderOwner, done: () => void): void {
  let bytes = Buffer.alloc(0)
  const cancel = owner.clock.schedule(HEADER_MS, () => fail(`its PROXY header did not come within ${HEADER_MS} ms`))
  const leave = (): void => {
    cancel()
    socket.off('readable', onReadable).off('end', onEnd).off('close', onClose)
  }
  const fail = (fault: string): void => {
    owner.onFault(socket, fault)
    socket.destroy()
  }
  function onReadable(): void {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) return
    bytes = Buffer.concat([bytes, chunk])
    const header = parseProxyHeader(bytes)
    if (header === null) return
    if (typeof header === 'string') return fail(`it began with ${header}`)
    leave()
    const rest = bytes.subarray(header.length)
    if (rest.length > 0) socket.unshift(rest)
    if (header.route !== null) setRoute(socket, header.route)
    // Only then is the stream as if nobody had read it.
    process.nextTick(done)
  }
  function onEnd(): void {
    // A balancer that only looks whether somebody listens sends nothing.
    if (bytes.length > 0) fail('it ended within its PROXY header')
    else socket.destroy()
  }
  function onClose(): void {
    leave()
    done()
  }
  socket.on('readable', onReadable).on('end', onEnd).on('close', onClose).on('error', ignore)
}

function setRoute(socket: Socket, route: Route): void {
  const familyOf = (address: string): string => (isIPv4(address) ? 'IPv4' : 'IPv6')
  const { remoteAddress, localAddress } = route
  const all = { ...route, remoteFamily: familyOf(remoteAddress), localFamily: familyOf(localAddress) }
  // They are getters of the class.
  for (const [name, value] of Object.entries(all)) Object.defineProperty(socket, name, { value, configurable: true })
}

/** Gives a TLS socket the addresses that the PROXY header has given to its connection. */
export function copyRoute(from: Socket, to: Socket): void {
  if (!Object.hasOwn(from, 'remoteAddress')) return
  const { remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 } = from
  setRoute(to, { remoteAddress, remotePort, localAddress, localPort })
}

function ignore(): void {}
