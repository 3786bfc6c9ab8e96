import type { BackendInit } from '../../index.ts'
import type { NormalizedServerOptions, ProxyTargetDetailed } from './types.ts'

/** Where a call goes, from `target` or `forward`. */
export interface Destination {
  readonly isSecure: boolean
  /** Host name or address, as in a URL. */
  readonly hostname: string
  /** Host, and the port unless it is the usual one. */
  readonly host: string
  readonly isUnix: boolean
  /** Protocol, host and port; or `http+unix:` and the path of the socket. */
  readonly origin: string
  /** Path of the target's URL, before the request's; `/` for none. */
  readonly path: string
  /** Query of the target's URL without its question mark. */
  readonly query: string
  readonly tls: BackendInit['tls'] | undefined
}

const SECURE = /^(?:https|wss)/

/** Text as a URL, or the parts as they are. @throws TypeError if it is not a URL. */
export function normalTarget(target: string | URL | ProxyTargetDetailed): URL | ProxyTargetDetailed {
  return typeof target === 'string' ? new URL(target) : target
}

/** @throws TypeError if it names no host. */
export function readTarget(target: URL | ProxyTargetDetailed, options: NormalizedServerOptions): Destination {
  const isSecure = SECURE.test(target.protocol ?? 'http:')
  const { pathname, search } = target
  // Parts may have the query in the path.
  const [path = '', query = ''] = split(`${pathname ?? ''}${search ?? ''}`)
  const tls = isSecure ? tlsOf(target as ProxyTargetDetailed, options) : undefined
  const rest = { isSecure, path: path.startsWith('/') ? path : `/${path}`, query, tls }
  const { socketPath } = target as ProxyTargetDetailed
  if (socketPath !== undefined) {
    return {
      ...rest,
      hostname: 'localhost',
      host: 'localhost',
      isUnix: true,
      origin: `http+unix://${encodeURI(socketPath)}`,
    }
  }
  const url = target instanceof URL ? target : urlOf(target, isSecure)
  const origin = `${isSecure ? 'https' : 'http'}://${url.host}`
  return { ...rest, hostname: url.hostname, host: url.host, isUnix: false, origin }
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
