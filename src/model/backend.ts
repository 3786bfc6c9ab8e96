import { isIP } from 'node:net'
import { BackendState } from '../runtime/backend-state.ts'
import { parseBackendUrl } from './backend-url.ts'

/** How to verify a backend's certificate and how to identify ourselves to it. Verified by default. */
export interface BackendTls {
  /** Certificate authorities to trust instead of the built-in ones, PEM. */
  readonly ca?: string | Buffer | readonly (string | Buffer)[]
  /** Our client certificate, PEM. */
  readonly cert?: string | Buffer
  /** The key of {@link cert}, PEM. */
  readonly key?: string | Buffer
  /** Name to ask for (SNI) and to verify. Default: the host of the backend's URL. */
  readonly servername?: string
  /** `false` accepts any certificate: whoever can reach the wire can then read and change everything. Default `true`. */
  readonly rejectUnauthorized?: boolean
}

/** What a user gives to describe one backend. */
export interface BackendInit {
  /** `http://`, `https://` or `http+unix:///path/to.sock` (with `:/prefix` behind the socket's path for a path prefix). A path is put before the path of each request. */
  readonly url: string | URL
  /** Unique in its group; in logs, events and metrics. Default: the URL's origin. */
  readonly id?: string
  /** Share of the traffic in relation to the others. Default 1; 0 takes nothing new. */
  readonly weight?: number
  /** Anything of the application's; never read by us. */
  readonly metadata?: Readonly<Record<string, unknown>>
  /** TLS settings for `https:`. */
  readonly tls?: BackendTls
}

/** Where to connect: everything that makes two connections interchangeable or not. */
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
}

/**
 * Why a backend gets work, or none. An operator's word comes before evidence, and evidence of probes before that of requests:
 * - `disabled`: `proxy.disable()`.
 * - `draining`: `proxy.drain()`; it finishes what runs.
 * - `weightless`: its weight is 0.
 * - `unhealthy`: a probe says that it does not work.
 * - `ejected`: requests have failed; for a while.
 * - `available`: none of these.
 */
export type BackendStatus = 'available' | 'unhealthy' | 'ejected' | 'draining' | 'disabled' | 'weightless'

/**
 * One server that answers requests, with its live numbers. Identity matters: one object per backend and proxy. Its state follows
 * id and URL: weight and metadata may change while it lives, and an object with other TLS settings takes its state over.
 */
export class Backend {
  readonly id: string
  readonly url: URL
  readonly endpoint: Endpoint
  /** `Host` value that names this backend. */
  readonly host: string
  /** Path that goes before each request's path; empty or `/without/trailing/slash`. */
  readonly basePath: string
  /** Live numbers, perhaps in memory that threads share. */
  readonly state: BackendState
  #init: BackendInit
  #weight: number
  #metadata: Readonly<Record<string, unknown>>

  /**
   * @param state its live numbers, or a function that finds them by what the backend is.
   * @throws TypeError if the URL cannot be a backend's.
   */
  constructor(init: BackendInit | string | URL, state?: BackendState | ((backend: Backend) => BackendState)) {
    const given = typeof init === 'string' || init instanceof URL ? { url: init } : init
    const { url, socketPath, basePath } = parseBackendUrl(String(given.url))
    this.url = url
    this.id = given.id ?? (socketPath === null ? url.origin : `unix:${socketPath}`)
    this.#init = given
    this.#weight = given.weight ?? 1
    this.#metadata = given.metadata ?? {}
    this.basePath = basePath
    this.host = socketPath === null ? url.host : 'localhost'
    const isSecure = url.protocol === 'https:'
    const hostname = url.hostname.replace(/^\[|\]$/g, '')
    this.endpoint = {
      isSecure,
      hostname,
      port: url.port === '' ? (isSecure ? 443 : 80) : Number(url.port),
      socketPath,
      servername: given.tls?.servername ?? (isIP(hostname) === 0 ? hostname : ''),
      tls: given.tls ?? {},
    }
    this.state = typeof state === 'function' ? state(this) : (state ?? new BackendState())
  }

  /** What it was made from, or took over last. */
  get init(): BackendInit {
    return this.#init
  }
  /** Share of the traffic in relation to the others; 0 takes nothing new. */
  get weight(): number {
    return this.#weight
  }
  /** Anything of the application's. */
  get metadata(): Readonly<Record<string, unknown>> {
    return this.#metadata
  }
  /** It has the same id and URL: the same server, whatever else differs. */
  isSame({ id, url }: Backend): boolean {
    return this.id === id && this.url.href === url.href
  }
  /** Takes over what may change of a backend that stays. Its group must be notified. */
  adopt({ init, weight, metadata }: Backend): void {
    this.#init = init
    this.#weight = weight
    this.#metadata = metadata
  }

  /** Why it gets work, or none. */
  status(): BackendStatus {
    if (this.isDisabled) return 'disabled'
    if (this.isDraining) return 'draining'
    if (this.weight === 0) return 'weightless'
    if (this.isUnhealthy) return 'unhealthy'
    return this.isEjected ? 'ejected' : 'available'
  }
  /** Attempts that have begun and whose last byte is not yet gone. */
  get pending(): number {
    return this.state.pending
  }
  /** An active probe says that it does not work. */
  get isUnhealthy(): boolean {
    return this.state.isUnhealthy
  }
  /** Passive evidence says so, for a while. */
  get isEjected(): boolean {
    return this.state.isEjected
  }
  /** Finishes what runs, takes nothing new. */
  get isDraining(): boolean {
    return this.state.isDraining
  }
  /** An operator said so. */
  get isDisabled(): boolean {
    return this.state.isDisabled
  }
  /** Neither unhealthy nor draining nor disabled, and a weight over 0: nothing but an ejection can keep it from being available. */
  get isEligible(): boolean {
    return this.weight > 0 && !this.isUnhealthy && !this.isDraining && !this.isDisabled
  }
  /** Eligible, and not ejected. */
  get isAvailable(): boolean {
    return this.isEligible && !this.isEjected
  }
}
