import { isIP } from 'node:net'
import { BackendState } from '../runtime/backend-state.ts'
import { parseBackendUrl } from './backend-url.ts'

/** How to verify a backend's certificate, and the client certificate for it. Certificates are verified by default. */
export interface BackendTls {
  /** Certificate authorities to trust instead of the built-in ones, PEM. */
  readonly ca?: string | Buffer | readonly (string | Buffer)[] | undefined
  /** The proxy's client certificate, PEM. */
  readonly cert?: string | Buffer | undefined
  /** The key of {@link cert}, PEM. */
  readonly key?: string | Buffer | undefined
  /** Name to ask for (SNI) and to verify. Default: the host of the backend's URL. */
  readonly servername?: string | undefined
  /** `false` accepts any certificate: an attacker on the network can then read and change everything. Default `true`. */
  readonly rejectUnauthorized?: boolean | undefined
}

/** How to speak to a backend: {@link BackendInit.protocol}. */
export type BackendProtocol = 'http/1.1' | 'h2' | 'auto'

/** A backend, as the application describes it. */
export interface BackendInit {
  /**
   * `http://`, `https://` or `http+unix:///path/to.sock` (with `:/prefix` after the socket's path for a path prefix). A path is
   * put before the path of each request.
   */
  readonly url: string | URL
  /** Name in logs, events and metrics; unique in its group. Default: the URL's origin. */
  readonly id?: string | undefined
  /** Share of the traffic in relation to the other backends. Default 1; 0: no new requests. */
  readonly weight?: number | undefined
  /**
   * The protocol to it. `'h2'`: HTTP/2; with `http://` by prior knowledge. `'auto'`: with `https://` what the backend chooses (ALPN),
   * else HTTP/1.1. Upgrades (WebSocket) always go by HTTP/1.1. Default `'http/1.1'`.
   */
  readonly protocol?: BackendProtocol | undefined
  /**
   * Begins each connection with a header of the PROXY protocol that names the client. A connection then carries requests of one client
   * address only. Not with HTTP/2. Default: none.
   */
  readonly proxyProtocol?: 'v1' | 'v2' | undefined
  /** Data of the application; the proxy never reads it. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  /** TLS settings for `https:`. */
  readonly tls?: BackendTls | undefined
}

/** The address and settings for a connection. Connections to equal endpoints are interchangeable. */
export interface Endpoint {
  readonly isSecure: boolean
  /** Host name or address without brackets; empty for a unix socket. */
  readonly hostname: string
  readonly port: number
  /** Path of a unix socket, or `null`. */
  readonly socketPath: string | null
  /** Name to ask for (SNI) and to verify; empty for an address. */
  readonly servername: string
  readonly tls: BackendTls
  readonly protocol: BackendProtocol
  /** Version of the PROXY header that its connections begin with; `null`: none. */
  readonly proxyProtocol: 'v1' | 'v2' | null
}

/**
 * Whether a backend gets new requests, and if not, why. The first of these that applies:
 * - `disabled`: by `proxy.disable()`.
 * - `draining`: by `proxy.drain()`; exchanges in flight finish.
 * - `weightless`: its weight is 0.
 * - `unhealthy`: its probes fail.
 * - `ejected`: requests have failed; it returns after a while.
 * - `available`: none of the above.
 */
export type BackendStatus = 'available' | 'unhealthy' | 'ejected' | 'draining' | 'disabled' | 'weightless'

/**
 * A server to which requests are sent, with its live state. Identity matters: there is one object per backend and proxy. The
 * state belongs to the id and URL: weight and metadata may change, and an object with other TLS settings takes over the state.
 */
export class Backend {
  readonly id: string
  readonly url: URL
  readonly endpoint: Endpoint
  /** Value of `Host` for this backend. */
  readonly host: string
  /** Path that goes before each request's path; empty or `/without/trailing/slash`. */
  readonly basePath: string
  /** Live state; threads may share it. */
  readonly state: BackendState
  #init: BackendInit
  #weight: number
  #metadata: Readonly<Record<string, unknown>>

  /**
   * @param state its live state, or a function that finds it for the backend.
   * @throws TypeError if the URL is not a backend URL.
   */
  constructor(init: BackendInit | string | URL, state?: BackendState | ((backend: Backend) => BackendState)) {
    const description = typeof init === 'string' || init instanceof URL ? { url: init } : init
    const { url, socketPath, basePath } = parseBackendUrl(String(description.url))
    this.url = url
    this.id = description.id ?? (socketPath === null ? url.origin : `unix:${socketPath}`)
    this.#init = description
    this.#weight = description.weight ?? 1
    this.#metadata = description.metadata ?? {}
    this.basePath = basePath
    this.host = socketPath === null ? url.host : 'localhost'
    const isSecure = url.protocol === 'https:'
    const hostname = url.hostname.replace(/^\[|\]$/g, '')
    this.endpoint = {
      isSecure,
      hostname,
      port: url.port === '' ? (isSecure ? 443 : 80) : Number(url.port),
      socketPath,
      servername: description.tls?.servername ?? (isIP(hostname) === 0 ? hostname : ''),
      tls: description.tls ?? {},
      protocol: description.protocol ?? 'http/1.1',
      proxyProtocol: description.proxyProtocol ?? null,
    }
    this.state = typeof state === 'function' ? state(this) : (state ?? new BackendState())
  }

  /** Its description; the latest one that it {@link adopt adopted}. */
  get init(): BackendInit {
    return this.#init
  }
  /** Share of the traffic in relation to the other backends; 0: no new requests. */
  get weight(): number {
    return this.#weight
  }
  /** Data of the application. */
  get metadata(): Readonly<Record<string, unknown>> {
    return this.#metadata
  }
  /** Whether both have the same id and URL, so that they are the same server. */
  isSame({ id, url }: Backend): boolean {
    return this.id === id && this.url.href === url.href
  }
  /** Takes over the weight and metadata of a new description. Notify the group afterwards. */
  adopt({ init, weight, metadata }: Backend): void {
    this.#init = init
    this.#weight = weight
    this.#metadata = metadata
  }

  /** Whether it gets new requests, and if not, why. */
  status(): BackendStatus {
    if (this.isDisabled) return 'disabled'
    if (this.isDraining) return 'draining'
    if (this.weight === 0) return 'weightless'
    if (this.isUnhealthy) return 'unhealthy'
    return this.isEjected ? 'ejected' : 'available'
  }
  /** Attempts in flight: begun, and their last byte is not sent yet. */
  get pending(): number {
    return this.state.pending
  }
  /** Its probes fail. */
  get isUnhealthy(): boolean {
    return this.state.isUnhealthy
  }
  /** Its requests have failed, so it gets none for a while. */
  get isEjected(): boolean {
    return this.state.isEjected
  }
  /** It finishes exchanges in flight and gets no new ones. */
  get isDraining(): boolean {
    return this.state.isDraining
  }
  /** An operator has disabled it. */
  get isDisabled(): boolean {
    return this.state.isDisabled
  }
  /** Neither unhealthy, draining nor disabled, and its weight is over 0: only an ejection can make it unavailable. */
  get isEligible(): boolean {
    return this.weight > 0 && !this.isUnhealthy && !this.isDraining && !this.isDisabled
  }
  /** Eligible, and not ejected. */
  get isAvailable(): boolean {
    return this.isEligible && !this.isEjected
  }
}
