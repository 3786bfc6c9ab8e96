import { domainToASCII } from 'node:url'

/** The conditions of a route. */
export interface RouteRule {
  /** Lower case; empty: any; `*.example.com`: any name below it. */
  readonly host: string
  /** In the form of `normalPath()`. */
  readonly path: string
  readonly exact: boolean
  /** Upper case; empty: any. */
  readonly methods: readonly string[]
}

/** Finds the route of a request; see {@link createRouter}. */
export interface Router<R> {
  /** @param path without the query, in the form of `normalPath()`. @returns `null` if no route matches. */
  match(method: string, host: string, path: string): R | null
}

/** The routes of one host: by whole path, and by prefix without its trailing slash. */
interface PathTable<R> {
  readonly exact: Map<string, R[]>
  readonly prefix: Map<string, R[]>
  /** Lengths of the keys of `prefix`: other lengths are not looked up, since a path may have thousands of slashes. */
  readonly lengths: Set<number>
  longest: number
}

/**
 * The longest match wins: an exact host before the longest wildcard before any host; then a whole path before the longest
 * prefix; then a route with methods before one without; then the order of the options. If no path of a host matches, the
 * next best host is tried. A look-up costs one map access per label and per segment, whatever the number of routes.
 */
export function createRouter<R extends RouteRule>(routes: readonly R[]): Router<R> {
  const hosts = new Map<string, PathTable<R>>()
  for (const route of routes) {
    let table = hosts.get(route.host)
    if (table === undefined) {
      table = { exact: new Map(), prefix: new Map(), lengths: new Set(), longest: 0 }
      hosts.set(route.host, table)
    }
    const map = route.exact ? table.exact : table.prefix
    const key = !route.exact && route.path.endsWith('/') ? route.path.slice(0, -1) : route.path
    const list = map.get(key)
    if (list === undefined) map.set(key, [route])
    else list.push(route)
    if (!route.exact) {
      table.lengths.add(key.length)
      table.longest = Math.max(table.longest, key.length)
    }
    map.get(key)?.sort((a, b) => Number(b.methods.length > 0) - Number(a.methods.length > 0))
  }
  const anyHost = hosts.get('') ?? null
  /** Length of the longest name after the star of a wildcard, including its dot. */
  const longestWild = Math.max(0, ...Array.from(hosts.keys(), (host) => (host.startsWith('*') ? host.length - 1 : 0)))
  const hasHosts = hosts.size > (anyHost === null ? 0 : 1)
  const only = routes.length === 1 ? routes[0] : undefined
  const everything =
    only !== undefined && only.host === '' && only.path === '/' && !only.exact && only.methods.length === 0
      ? only
      : null

  return {
    match(method, host, path) {
      if (everything !== null) return everything
      if (hasHosts) {
        const name = hostName(host)
        const found = matchIn(hosts.get(name), method, path)
        if (found !== null) return found
        for (let dot = name.indexOf('.', name.length - longestWild); dot >= 0; dot = name.indexOf('.', dot + 1)) {
          const wild = matchIn(hosts.get(`*${name.slice(dot)}`), method, path)
          if (wild !== null) return wild
        }
      }
      return anyHost === null ? null : matchIn(anyHost, method, path)
    },
  }
}

function matchIn<R extends RouteRule>(table: PathTable<R> | undefined, method: string, path: string): R | null {
  if (table === undefined) return null
  const exact = byMethod(table.exact.get(path), method)
  if (exact !== null) return exact
  const { prefix, lengths, longest } = table
  let end = path.endsWith('/') ? path.length - 1 : path.length
  if (end > longest) end = Math.max(0, path.lastIndexOf('/', longest))
  for (;;) {
    const found = lengths.has(end) ? byMethod(prefix.get(path.slice(0, end)), method) : null
    if (found !== null) return found
    if (end <= 0) return null
    end = path.lastIndexOf('/', end - 1)
    if (end < 0) end = 0
  }
}

function byMethod<R extends RouteRule>(routes: readonly R[] | undefined, method: string): R | null {
  if (routes === undefined) return null
  for (const route of routes) if (route.methods.length === 0 || route.methods.includes(method)) return route
  return null
}

/** A host that may need to be normalized: an address, or a name with encoded characters. */
const NEEDS_NORMALIZATION = /[%[]|(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/

/** The host in lower case, without a port or a trailing dot, normalized like in a URL. */
function hostName(host: string): string {
  const colon = host.startsWith('[') ? host.indexOf(':', host.indexOf(']')) : host.indexOf(':')
  let name = (colon < 0 ? host : host.slice(0, colon)).toLowerCase()
  if (NEEDS_NORMALIZATION.test(name)) name = domainToASCII(name) || name
  return name.endsWith('.') ? name.slice(0, -1) : name
}
