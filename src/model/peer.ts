import type { X509Certificate } from 'node:crypto'
import type { HeaderList } from './exchange-view.ts'

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
  /** If the listener asks clients for certificates. */
  readonly identity?: PeerIdentity | undefined
}

/** Who a client is, as its TLS connection says. */
export interface PeerIdentity {
  /** Its certificate, if it is valid; `null` if there is none. */
  readonly certificate: X509Certificate | null
  /** `Client-Cert` and its like, for backends; `null` for none. */
  readonly fields: Readonly<HeaderList> | null
  /** Whether the certificate that we have shown on this connection is for the host. */
  covers(host: string): boolean
}
