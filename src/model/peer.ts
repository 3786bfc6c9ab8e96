/** Facts about a client's connection; one object for all its requests. */
export interface Peer {
  /** Without the `::ffff:` of a mapped IPv4 address and without a zone; empty for a unix socket. */
  readonly address: string
  /** The port that it connected to; 0 for a unix socket. */
  readonly localPort: number
  readonly isSecure: boolean
  /** Its X-Forwarded-* are believed. */
  readonly isTrusted: boolean
}
