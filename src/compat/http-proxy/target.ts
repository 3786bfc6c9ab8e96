import type { BackendInit } from '../../index.ts'
import type { NormalizedServerOptions, ProxyTargetDetailed } from './types.ts'

/** Where a call goes, from `target` or `forward`. */
export interface Destination {
  readonly isSecure: boolean
  readonly isUnix: boolean
  /** Host name or address, as in a URL. */
  readonly hostname: string
  /** Host, and the port unless it is the usual one. */
  readonly host: string
  /** Protocol, host and port; or `http+unix:` and the path of the socket. */
  readonly origin: string
  /** Path of the target's URL, before the request's; `/` for none. */
  readonly path: string
  /** Query of the target's URL without its question mark. */
  readonly query: string
  /** For a target over TLS, if not the defaults. */
  readonly tls?: BackendInit['tls'] | undefined
}

const SECURE = /^(?:https|wss)/

/** Most targets that are given as text and kept. */
const MAX_KNOWN = 256

/** Reads targets. Those that are given as text, mostly the same ones again and again, are parsed once. */
export class Targets {
  readonly #known = new Map<string, { readonly url: URL; readonly href: string }>()
  readonly #destinations = new WeakMap<URL, Destination>()

  /** Text as a URL, or the parts as they are. @throws TypeError if it is not a URL. */
  parse(target: string | URL | ProxyTargetDetailed): URL | ProxyTargetDetailed {
    if (typeof target !== 'string') return target
    const known = this.#known.get(target)
    // A listener may have changed the URL that it was given.
    if (known !== undefined && known.url.href === known.href) return known.url
    const url = new URL(target)
    if (this.#known.size === MAX_KNOWN) this.#known.clear()
    this.#known.set(target, { url, href: url.href })
    this.#destinations.set(url, destinationOf(url))
    return url
  }

  /** @throws TypeError if it names no host. */
  read(target: URL | ProxyTargetDetailed, options: NormalizedServerOptions): Destination {
    const known = target instanceof URL ? this.#destinations.get(target) : undefined
    const destination = known ?? destinationOf(target)
    return destination.isSecure ? { ...destination, tls: tlsOf(target as ProxyTargetDetailed, options) } : destination
  }
}

function destinationOf(target: URL | ProxyTargetDetailed): Destination {
  const isSecure = SECURE.test(target.protocol ?? 'http:')
  // Parts may have the query in the path.
  const [path, query] = split(`${target.pathname ?? ''}${target.search ?? ''}`)
  const rest = { isSecure, path: path.startsWith('/') ? path : `/${path}`, query }
  const { socketPath } = target as ProxyTargetDetailed
  if (socketPath !== undefined) {
    const origin = `http+unix://${encodeURI(socketPath)}`
    return { ...rest, isUnix: true, hostname: 'localhost', host: 'localhost', origin }
  }
  const { hostname, host } = target instanceof URL ? target : urlOf(target, isSecure)
  return { ...rest, isUnix: false, hostname, host, origin: `${isSecure ? 'https' : 'http'}://${host}` }
}

function urlOf({ hostname, host, port }: ProxyTargetDetailed, isSecure: boolean): URL {
  const name = hostname || host || 'localhost'
  const isBareAddress = /:.*:/.test(name) && !name.startsWith('[')
  const url = URL.parse(`${isSecure ? 'https' : 'http'}://${isBareAddress ? `[${name}]` : name}`)
  if (url === null) throw new TypeError(`target has the host ${JSON.stringify(name)}; use a host name or an address`)
  if (port !== undefined && port !== null && port !== '') url.port = String(port)
  return url
}

function tlsOf({ ca, cert, key }: ProxyTargetDetailed, options: NormalizedServerOptions): BackendInit['tls'] {
  const trusted = options.ca ?? ca
  if (options.secure !== false && trusted === undefined && cert === undefined && key === undefined) return undefined
  return {
    ...(options.secure === false && { rejectUnauthorized: false }),
    ...(trusted !== undefined && { ca: trusted }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  }
}

/** Path and query. */
export function split(target: string): [path: string, query: string] {
  const at = target.indexOf('?')
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}
