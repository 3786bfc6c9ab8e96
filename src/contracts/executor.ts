import type { Server } from 'node:http'
import type { TlsOptions } from 'node:tls'
import type { CertificateProvider } from './certificate-provider.ts'
import type { PoolStats } from './pool.ts'

/** The address to listen on, and the options of the listener. */
export interface ListenOptions {
  /** A number, or its digits; 0 for any free port. Needed unless there is a `path`. */
  readonly port?: number | string | undefined
  /** Default: all addresses. */
  readonly host?: string | undefined
  /** Path of a unix socket, instead of a port. A socket file on which no process listens any more is replaced. */
  readonly path?: string | undefined
  /**
   * Number of connections that may wait to be accepted, a whole number from 1. Beyond it, a client's connection waits a second or
   * more. The system lowers it to its own limit (Linux: `net.core.somaxconn`). Default 4096.
   */
  readonly backlog?: number | undefined
  /**
   * Protocols for clients. Default: `['h2', 'http/1.1']` with `tls`, else `['http/1.1']`. With `h2`, clients that ask for it over TLS (ALPN) get HTTP/2; in clear text those that
   * begin with it (prior knowledge, RFC 9113 section 3.3).
   */
  readonly protocols?: readonly ('h2' | 'http/1.1')[] | undefined
  /**
   * Addresses and ranges (as in `trustedProxies`) of load balancers whose connections begin with a header of the PROXY protocol, version 1 or
   * 2. From these the header is required, within 3 s and before TLS; from others none is read. The client's address and port are
   * those of the header, for everything: limits, logs, X-Forwarded-For, `trustedProxies`.
   */
  readonly proxyProtocol?: readonly string[] | undefined
  /** Serves TLS (`https:`): certificates by name, or options of node's `tls.createServer()`, such as `{ cert, key }`. */
  readonly tls?: ListenTls | TlsOptions | undefined
  /**
   * An application's server that gets every request that no route matches, one of HTTP/2 as a connection of HTTP/1.1. It must not listen
   * by itself.
   */
  readonly fallback?: Server | undefined
}

/** TLS of a listener, with certificates by name. */
export interface ListenTls {
  /**
   * A client gets the one that has the name it asks for (SNI): exactly, or by a wildcard for one label, or else the first one.
   * At least one. What provides certificates by itself, such as `acme()` of `heddle/acme`, is written like a certificate; its own come after the
   * others.
   */
  readonly certificates: readonly (ListenCertificate | CertificateProvider)[]
  /** Default: node's (`TLSv1.2`, unless it was started with another one). */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined
  /** Asks clients for certificates. Default: no. */
  readonly clientAuth?: ClientAuth | undefined
  /**
   * `watch` looks at the files every 10 s. A changed certificate is tried first; one that cannot be used is logged, and the old
   * one stays. `false`: only `proxy.reloadCertificates()` reads them again. Default `watch`.
   */
  readonly reload?: 'watch' | false | undefined
  /**
   * How long one key encrypts session tickets, ms; 1000 or more. All threads have the same key. After a change of keys a client's next
   * connection makes a full handshake. Default 43,200,000 (12 h).
   */
  readonly ticketRotationMs?: number | undefined
}

/** A certificate of a listener. */
export interface ListenCertificate {
  /** The certificate and its intermediate ones: the path of a PEM file, or PEM. */
  readonly cert: string | Uint8Array
  /** Its private key: the path of a PEM file, or PEM. */
  readonly key: string | Uint8Array
  /** Names that get it, such as `a.example` or `*.a.example`; the certificate must be for each of them. Default: all its DNS names. */
  readonly names?: readonly string[] | undefined
}

/** How clients show who they are, by certificates (mTLS). It holds for all names of the listener. */
export interface ClientAuth {
  /** The authorities whose certificates count: the path of a PEM file, or PEM. */
  readonly ca: string | Uint8Array
  /** `require`: the handshake fails without a valid certificate. `request`: the client may have none. */
  readonly mode: 'request' | 'require'
  /**
   * Backends get a valid certificate in `Client-Cert` and `Client-Cert-Chain` (RFC 9440). Clients cannot send these
   * headers, with or without this option. Default `true`.
   */
  readonly header?: boolean | undefined
}

/** {@link ListenOptions}, checked: the port is a number, and the certificates have been read. */
export interface CheckedListenOptions extends Omit<ListenOptions, 'tls'> {
  readonly port?: number | undefined
  readonly tls?: ListenerTls | undefined
}

/** The TLS of one listener, read and checked. It is plain data, so that threads can have it. */
export interface ListenerTls {
  /** Number of the listener in its proxy. */
  readonly listener: number
  /** For node's server, without the certificates: among others the key of the tickets, the same in all threads. */
  readonly options: TlsOptions
  /** The first one is the default. */
  readonly certificates: readonly ServedCertificate[]
  /** For clients that ask for the protocol `acme-tls/1` (RFC 8737), by name; `null` if nothing provides any. */
  readonly challenges: readonly ServedCertificate[] | null
  readonly clientAuth: { readonly header: boolean } | null
}

/** A certificate that a listener serves. */
export interface ServedCertificate {
  /** PEM. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  /** The names that get it, in lower case. */
  readonly names: readonly string[]
}

/** The address on which a proxy listens. */
export interface ListenAddress {
  readonly port: number
  readonly host: string
  /** URL for a client on this machine; empty for a unix socket. */
  readonly url: string
}

/** Serves the connections of `proxy.listen()`, in the calling thread or in several. */
export interface Executor {
  /** Stable label for logs. */
  readonly name: string
  /** Most threads, besides the calling one, that run at one time. A custom executor has 0, or the value of an executor that it wraps. */
  readonly maxThreads: number
  /** Starts to serve, until {@link Running.close}. Rejects if it cannot start. */
  start(job: Job): Promise<Running>
}

/** Work for an {@link Executor}. A proxy's job has more properties, which the threads of `workerThreads()` need: pass it on unchanged. */
export interface Job {
  readonly listen: CheckedListenOptions
  /** Serves in the calling thread. */
  serve(listen: CheckedListenOptions): Promise<Running>
}

/** A started {@link Job}. One of `workerThreads()` has more properties, which the proxy needs: return it unchanged. */
export interface Running {
  readonly address: ListenAddress
  /** Stops gracefully. Resolves when it has stopped. */
  close(): Promise<void>
}

/** A change in the life of a thread. */
export interface ThreadChange {
  /** Number of the thread, from 1. A thread that replaces another gets a new number. */
  readonly thread: number
  /** `started`: it serves. `retiring`: it finishes its connections. `ended`: it stopped as requested. `died`: it stopped unexpectedly. */
  readonly what: 'started' | 'retiring' | 'ended' | 'died'
  /** Explanation in words. */
  readonly reason: string
  /** Number of threads that serve now. */
  readonly serving: number
  /** Its current statistics; after it has ended or died, the last ones. */
  readonly stats: ThreadStats
}

/** Statistics of one thread. */
export interface ThreadStats {
  readonly thread: number
  readonly state: 'starting' | 'serving' | 'retiring'
  /** Exchanges since the thread's start. */
  readonly exchanges: number
  /** Exchanges that have not ended. */
  readonly active: number
  /** Open client connections. */
  readonly connections: number
  /** Share of the last half second during which its event loop was busy, 0 to 1. */
  readonly utilization: number
  /** Pools of the thread's proxies, as last reported; they are reported twice a second. */
  readonly pools: readonly ThreadPool[]
}

/** The pool of one group in one thread. */
export interface ThreadPool {
  /** The proxy's `name`; `#0`, `#1` for those without one, in the order in which the thread created them. */
  readonly proxy: string
  readonly group: string
  readonly pool: PoolStats
}
