/**
 * Says by its first bytes what a backend speaks in place of what was expected; `null` if they do not tell. It is only for messages.
 * A backend that gets the wrong protocol sends an alert of TLS, the settings of HTTP/2, or a 400.
 */
export function otherProtocol(first: Uint8Array): 'TLS' | 'HTTP/2' | 'HTTP/1.x' | null {
  // TLS: an alert or a handshake of any version.
  if ((first[0] === 0x15 || first[0] === 0x16) && first[1] === 3) return 'TLS'
  // HTTP/2: the frame SETTINGS, which a server sends first, of the connection itself (stream 0).
  if (first.length >= 9 && first[0] === 0 && first[3] === 4 && first.subarray(5, 9).every((byte) => byte === 0))
    return 'HTTP/2'
  return Buffer.from(first.subarray(0, 7)).toString('latin1') === 'HTTP/1.' ? 'HTTP/1.x' : null
}
