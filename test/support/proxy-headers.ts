/** A header of version 1. */
export const v1 = (from = '192.0.2.7', to = '198.51.100.1', fromPort = 4711, toPort = 443): Buffer =>
  Buffer.from(`PROXY TCP${from.includes(':') ? 6 : 4} ${from} ${to} ${fromPort} ${toPort}\r\n`, 'latin1')

/** The addresses of a header of version 2: 192.0.2.7:4711 to 198.51.100.1:443. */
export const V2_IPV4 = Buffer.from('c0000207c63364011267' + '01bb', 'hex')

/** A header of version 2. @param command 0x21: PROXY, 0x20: LOCAL. @param family 0x11: TCP over IPv4. */
export function v2(body: Uint8Array = V2_IPV4, command = 0x21, family = 0x11, size = body.length): Buffer {
  const head = Buffer.from('0d0a0d0a000d0a515549540a00000000', 'hex')
  head[12] = command
  head[13] = family
  head.writeUInt16BE(size, 14)
  return Buffer.concat([head, body])
}
