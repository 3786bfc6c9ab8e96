import { isIP } from 'node:net'
import { BackendState } from '../runtime/backend-state.ts'
import { resolved } from './path.ts'

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
 * One server that answers requests, with its live numbers. Identity matters: one object per backend and proxy. Its state follows
 * id and URL: weight and metadata may change while it lives, and an object with other TLS settings takes its cells over.
 */
export class Backend {
  readonly id: string
  readonly url: URL
  readonly endpoint: Endpoint
  /** `Host` value that names this backend. */
  readonly host: string
  /** Path that goes before each request's path; empty or `/without/trailing/slash`. */
  readonly basePath: string
  /** Live numbers; `BackendState` may lie in memory that threads share. */
  readonly cells: BackendState
  #weight: number
  #metadata: Readonly<Record<string, unknown>>

  /** @throws TypeError where the URL cannot be a backend's. */
  constructor(init: BackendInit | string | URL, cells = new BackendState()) {
    const given = typeof init === 'string' || init instanceof URL ? { url: init } : init
    const { url, socketPath, basePath } = parseBackendUrl(String(given.url))
    this.url = url
    this.id = given.id ?? (socketPath === null ? url.origin : `unix:${socketPath}`)
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
    this.cells = cells
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
  /** Takes over what may change of a backend that stays. The group must be told of it. */
  adopt({ weight, metadata }: Backend): void {
    this.#weight = weight
    this.#metadata = metadata
  }

  /** Attempts that have begun and whose last byte is not yet gone. */
  get pending(): number {
    return this.cells.pending
  }
  /** An active probe says that it does not work. */
  get isUnhealthy(): boolean {
    return this.cells.isUnhealthy
  }
  /** Passive evidence says so, for a while. */
  get isEjected(): boolean {
    return this.cells.isEjected
  }
  /** Finishes what runs, takes nothing new. */
  get isDraining(): boolean {
    return this.cells.isDraining
  }
  /** An operator said so. */
  get isDisabled(): boolean {
    return this.cells.isDisabled
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

const UNIX = /^http\+unix:\/\/(\/[^:]+)(?::(\/[^\s?#\\]*))?$/

function parseBackendUrl(text: string): { url: URL; socketPath: string | null; basePath: string } {
  const unix = UNIX.exec(text)
  const url = URL.canParse(text) ? new URL(text) : null
  if (unix?.[1] !== undefined && url !== null) {
    return { url, socketPath: decodeURIComponent(unix[1]), basePath: trimSlash(resolved(unix[2] ?? '')) }
  }
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new TypeError(
      `${JSON.stringify(text)} is not a backend URL; use http://host:port, https://host:port or http+unix:///path/to.sock`,
    )
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new TypeError(
      `${JSON.stringify(`${url.protocol}//${url.host}`)}: a backend URL has no user, password, query or fragment; use http://host:port/prefix`,
    )
  }
  return { url, socketPath: null, basePath: trimSlash(url.pathname) }
}

/** Without slashes at its end: the path of a request has one at its start, or is none. */
function trimSlash(path: string): string {
  return path.replace(/\/+$/, '')
}
