/** A client's connection; one object for all its requests. */
export interface Peer {
  /**
   * Address without the `::ffff:` of a mapped IPv4 address and without a zone; empty for a unix socket, `unknown` if the connection was
   * closed before its address was asked for.
   */
  readonly address: string
  /** Port that the client connected to; 0 for a unix socket. */
  readonly localPort: number
  readonly isSecure: boolean
  /** Whether it is a trusted proxy, whose X-Forwarded-* are believed. */
  readonly isTrusted: boolean
}
