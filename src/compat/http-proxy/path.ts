import type { BackendInit } from '../../index.ts'
import { type Destination, split } from './target.ts'

/** The options that decide about the path. */
export interface PathOptions {
  readonly prependPath?: boolean | undefined
  readonly ignorePath?: boolean | undefined
}

/** What the engine gets for a destination and a request. */
export interface Sent {
  /** Base URL. Its path goes before {@link path}, which cannot lead out of it. */
  readonly base: string
  /** Path and query; `undefined`: those of the request. */
  readonly path: string | undefined
}

/** Path and query of a call for the engine, by http-proxy's rules: paths are joined with one slash, and queries with `&`. */
export function sentPath(destination: Destination, { prependPath, ignorePath }: PathOptions, url: string): Sent {
  const isPrepended = prependPath !== false
  const path = isPrepended ? destination.path : '/'
  const query = isPrepended ? destination.query : ''
  const [asked, askedQuery] = ignorePath === true ? ['', ''] : split(originForm(url))
  // Without a path from the request nothing can lead out of the target's, and nothing is added to it.
  if (asked === '') return { base: destination.origin, path: withQuery(path, join(query, askedQuery)) }
  const base = path === '/' ? destination.origin : `${destination.origin}${destination.isUnix ? ':' : ''}${path}`
  return { base, path: query === '' ? undefined : withQuery(asked, join(query, askedQuery)) }
}

/** The whole path and query of a call, as the target gets it. */
export function wholePath(destination: Destination, { base, path }: Sent, url: string): string {
  const own = path ?? url
  const before = base === destination.origin ? '' : destination.path.replace(/\/$/, '')
  return before + (own.startsWith('/') ? own : `/${own}`)
}

/** The backend for the engine. A text is quicker than an object. */
export function backendOf(base: string, { tls }: Destination): string | BackendInit {
  return tls === undefined ? base : { url: base, tls }
}

/** Path and query of a target that may be a whole URL. */
function originForm(url: string): string {
  const whole = url.startsWith('/') || url === '' ? null : URL.parse(url)
  return whole === null ? url : whole.pathname + whole.search
}

function join(first: string, second: string): string {
  return first === '' || second === '' ? first + second : `${first}&${second}`
}

function withQuery(path: string, query: string): string {
  return query === '' ? path : `${path}?${query}`
}
