import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { withoutZone } from './address.ts'

/** Ranges that have a name. */
const NAMED: ReadonlyMap<string, readonly string[]> = new Map([
  // This machine.
  ['loopback', ['127.0.0.0/8', '::1/128']],
  // Networks of our own: RFC 1918 and RFC 4193. Neither loopback nor link-local.
  ['private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']],
])

/** The name of peers that have no address: those of a unix socket. */
const UNIX = 'unix'

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Range = readonly [network: Address, bits: number]

/**
 * Compiles addresses and CIDR ranges (`10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`) or names (`loopback`, `private`, `unix`)
 * to a question about one address. IPv4 addresses that come as IPv6 (`::ffff:10.0.0.1`) are asked as IPv4, zones do not count.
 * @returns a function that never throws; what is no address is not trusted. The empty one is that of a unix socket.
 * @throws TypeError for a range that is none.
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

/** What node takes for an address is not always one to ipaddr.js, which throws: it comes from clients. */
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
  // A mapped range is asked as IPv4, like the addresses; one shorter than the mapping itself stays IPv6.
  if (network instanceof ipaddr.IPv6 && network.isIPv4MappedAddress() && bits >= 96) {
    return [network.toIPv4Address(), bits - 96]
  }
  return [network, bits]
}
