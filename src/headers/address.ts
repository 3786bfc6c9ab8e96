import { isIP } from 'node:net'

const PORT = /^:\d{1,5}$/
const MAPPED = '::ffff:'

/**
 * Parses an address of a connection or a forwarding header: with or without a port (`192.0.2.1:4711`), brackets
 * (`[::1]:80`), quotes (`"[::1]:80"`, RFC 7239 section 6), a zone (`fe80::1%eth0`) or the `::ffff:` of a mapped IPv4 address.
 * @returns the bare address, or `null` for anything else (`unknown`, an obfuscated name). Never throws.
 */
export function parseAddress(text: string): string | null {
  let plain = text.trim()
  if (plain.startsWith('"') && plain.endsWith('"')) plain = plain.slice(1, -1)
  if (plain.startsWith('[')) {
    const end = plain.indexOf(']')
    const rest = plain.slice(end + 1)
    if (end < 0 || (rest !== '' && !PORT.test(rest))) return null
    const inner = withoutZone(plain.slice(1, end))
    return isIP(inner) === 6 ? withoutMapping(inner) : null
  }
  const colon = plain.indexOf(':')
  if (colon > 0 && isIP(plain.slice(0, colon)) === 4)
    return PORT.test(plain.slice(colon)) ? plain.slice(0, colon) : null
  if (isIP(plain) === 4) return plain
  plain = withoutZone(plain)
  return isIP(plain) === 6 ? withoutMapping(plain) : null
}

/** Removes the zone, which is the name of an interface and only valid on one machine (RFC 4007 section 11). */
export function withoutZone(address: string): string {
  const percent = address.indexOf('%')
  return percent < 0 ? address : address.slice(0, percent)
}

function withoutMapping(address: string): string {
  if (!address.includes('.') || address.slice(0, MAPPED.length).toLowerCase() !== MAPPED) return address
  const plain = address.slice(MAPPED.length)
  return isIP(plain) === 4 ? plain : address
}
