import { isIPv4, isIPv6, type Socket } from 'node:net'

const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')

/**
 * Makes a header of the PROXY protocol the first bytes of a connection that is being set up.
 * @param client address; anything else: the header says that it names nobody. Empty: whoever gets the socket may write at once.
 */
export function withProxyHeader(socket: Socket, version: 'v1' | 'v2', client: string): Socket {
  const header = version === 'v1' ? headerV1 : headerV2
  let [address, port] = ['', 0]
  const write = (): void => void socket.write(header(client, address, port))
  // Without a client it needs no addresses; node's client then writes before the connection is there.
  if (client === '') write()
  // Called before anybody else waits for the connection, so nothing is written before it.
  else {
    // Not by `remoteAddress`, which node would keep: see ./hidden-reset.ts.
    socket.on('connectionAttempt', (ip, at) => {
      address = ip
      port = at
    })
    socket.once('connect', write)
  }
  return socket
}

/**
 * A header of version 1. The client's port is 0: a connection carries requests of several of its connections. The destination is the
 * backend.
 */
export function headerV1(client: string, backend: string, port: number): Buffer {
  const pair = sameFamily(client, backend)
  if (pair === null) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1')
  return Buffer.from(`PROXY TCP${pair.isV4 ? 4 : 6} ${pair.from} ${pair.to} 0 ${port}\r\n`, 'latin1')
}

/** The same in version 2; without a client LOCAL, as for a connection of our own. */
export function headerV2(client: string, backend: string, port: number): Buffer {
  const pair = sameFamily(client, backend)
  const addresses =
    pair === null
      ? Buffer.alloc(0)
      : Buffer.concat([bytesOf(pair.from), bytesOf(pair.to), Buffer.from([0, 0, port >> 8, port & 255])])
  const head = Buffer.from([
    pair === null ? 0x20 : 0x21,
    pair === null ? 0 : pair.isV4 ? 0x11 : 0x21,
    0,
    addresses.length,
  ])
  return Buffer.concat([V2_SIGNATURE, head, addresses])
}

/** Both in one family: an IPv4 address beside an IPv6 address is mapped. @returns `null` if the client has no address. */
function sameFamily(client: string, backend: string): { isV4: boolean; from: string; to: string } | null {
  const from = client.split('%')[0] as string
  if (!isIPv4(from) && !isIPv6(from)) return null
  const isV4 = isIPv4(from) && !isIPv6(backend)
  // The backend is on a unix socket.
  const to = backend === '' ? (isV4 ? '0.0.0.0' : '::') : (backend.split('%')[0] as string)
  if (isV4) return { isV4, from, to }
  return { isV4, from: mapped(from), to: mapped(to) }
}

function mapped(address: string): string {
  return isIPv4(address) ? `::ffff:${address}` : address
}

function bytesOf(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number))
  // In eight groups of hexadecimal digits: `::` and a dotted end are written out.
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  const hex = dotted === null ? address : `${dotted[1]}${group(dotted, 2)}:${group(dotted, 4)}`
  const [left = '', right] = hex.split('::')
  const head = left === '' ? [] : left.split(':')
  const tail = right === undefined || right === '' ? [] : right.split(':')
  const zeros = new Array<string>(8 - head.length - tail.length).fill('0')
  return Buffer.from([...head, ...zeros, ...tail].map((one) => one.padStart(4, '0')).join(''), 'hex')
}

function group(dotted: RegExpExecArray, at: number): string {
  return (Number(dotted[at]) * 256 + Number(dotted[at + 1])).toString(16)
}
