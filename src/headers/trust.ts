import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { withoutZone } from './address.ts'

/** Named ranges. */
const NAMED: ReadonlyMap<string, readonly string[]> = new Map([
  // This machine.
  ['loopback', ['127.0.0.0/8', '::1/128']],
  // Private networks (RFC 1918 and RFC 4193), without loopback and link-local.
  ['private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']],
])

/** The name of peers on a unix socket, which have no address. */
const UNIX = 'unix'

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Range = readonly [network: Address, bits: number]

/**
 * Compiles addresses, CIDR ranges (`10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`) and names (`loopback`, `private`, `unix`) to
 * a predicate for an address. Mapped IPv4 addresses (`::ffff:10.0.0.1`) are compared as IPv4; zones are ignored.
 * @returns a function that never throws. Invalid addresses are not trusted; the empty one is that of a unix socket.
 * @throws TypeError for an invalid range.
 */
export function trustMatcher(ranges: readonly string[]): (address: string) => boolean {
  const trustsUnix = ranges.includes(UNIX)
  const compiled = ranges
    .filter((range) => range !== UNIX)
    .flatMap((range) => (NAMED.get(range) ?? [range]).map(parseRange))
  if (compiled.length === 0) return (text) => trustsUnix && text === ''
  return (text) => {
    const address = parsed(text)
    return address === null ? trustsUnix && text === '' : compiled.some((range) => contains(range, address))
  }
}

/** Parses an address from a client. ipaddr.js throws for some addresses that node accepts. */
function parsed(text: string): Address | null {
  if (isIP(text) === 0) return null
  try {
    return ipaddr.process(withoutZone(text))
  } catch {
    return null
  }
}

function contains([network, bits]: Range, address: Address): boolean {
  if (network instanceof ipaddr.IPv4) return address instanceof ipaddr.IPv4 && address.match(network, bits)
  return address instanceof ipaddr.IPv6 && address.match(network, bits)
}

function parseRange(text: string): Range {
  const [address = '', prefix, ...rest] = text.split('/')
  const family = isIP(address)
  const longest = family === 4 ? 32 : 128
  const bits = prefix === undefined ? longest : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1
  if (family === 0 || rest.length > 0 || bits < 0 || bits > longest) {
    throw new TypeError(
      `${JSON.stringify(text)} is neither an address nor a CIDR range; use 10.0.0.0/8, 2001:db8::/32, 192.0.2.7, loopback, private or unix`,
    )
  }
  const network = ipaddr.parse(address)
  // A mapped range becomes IPv4, like the addresses, unless its prefix is shorter than that of the mapping.
  if (network instanceof ipaddr.IPv6 && network.isIPv4MappedAddress() && bits >= 96) {
    return [network.toIPv4Address(), bits - 96]
  }
  return [network, bits]
}
