import type { ResolvedRoute } from '../options.ts'

/** Finds the route of a request; see {@link createRouter}. */
export interface Router {
  /** @param path without the query. @returns `null` where nothing matches. */
  match(method: string, host: string, path: string): ResolvedRoute | null
  /** Some route looks at the path, so that a path with dot segments must be made plain first. */
  readonly looksAtPaths: boolean
}

/** The routes of one host: by whole path, and by prefix without its trailing slash. */
interface PathTable {
  readonly exact: Map<string, ResolvedRoute[]>
  readonly prefix: Map<string, ResolvedRoute[]>
  /** Length of the longest prefix: no look-up is made for what is longer, which a client may make as long as it likes. */
  longestPrefix: number
}

/**
 * Longest match wins: an exact host before the longest wildcard before any host; then a whole path before the
 * longest prefix; then a route with methods before one for any; then the order given. A host whose paths do not
 * match falls back to the next best host. A look-up costs one map access per label and per segment, whatever the
 * number of routes.
 */
export function createRouter(routes: readonly ResolvedRoute[]): Router {
  const hosts = new Map<string, PathTable>()
  for (const route of routes) {
    let table = hosts.get(route.host)
    if (table === undefined) {
      table = { exact: new Map(), prefix: new Map(), longestPrefix: 0 }
      hosts.set(route.host, table)
    }
    const map = route.exact ? table.exact : table.prefix
    const key = !route.exact && route.path.endsWith('/') ? route.path.slice(0, -1) : route.path
    if (!route.exact) table.longestPrefix = Math.max(table.longestPrefix, key.length)
    const list = map.get(key)
    if (list === undefined) map.set(key, [route])
    else list.push(route)
    map.get(key)?.sort((a, b) => Number(b.methods.length > 0) - Number(a.methods.length > 0))
  }
  const anyHost = hosts.get('') ?? null
  /** Length of the longest name behind the star of a wildcard, its dot included. */
  const longestWild = Math.max(0, ...Array.from(hosts.keys(), (host) => (host.startsWith('*') ? host.length - 1 : 0)))
  const hasHosts = hosts.size > (anyHost === null ? 0 : 1)
  const only = routes.length === 1 ? routes[0] : undefined
  const everything =
    only !== undefined && only.host === '' && only.path === '/' && !only.exact && only.methods.length === 0
      ? only
      : null

  return {
    looksAtPaths: routes.some((route) => route.path !== '/' || route.exact),
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

function matchIn(table: PathTable | undefined, method: string, path: string): ResolvedRoute | null {
  if (table === undefined) return null
  const exact = byMethod(table.exact.get(path), method)
  if (exact !== null) return exact
  let end = path.endsWith('/') ? path.length - 1 : path.length
  if (end > table.longestPrefix) end = Math.max(0, path.lastIndexOf('/', table.longestPrefix))
  for (;;) {
    const found = byMethod(table.prefix.get(path.slice(0, end)), method)
    if (found !== null) return found
    if (end <= 0) return null
    end = path.lastIndexOf('/', end - 1)
    if (end < 0) end = 0
  }
}

function byMethod(routes: readonly ResolvedRoute[] | undefined, method: string): ResolvedRoute | null {
  if (routes === undefined) return null
  for (const route of routes) if (route.methods.length === 0 || route.methods.includes(method)) return route
  return null
}

/** Lower case, without a port or a trailing dot. */
function hostName(host: string): string {
  const colon = host.startsWith('[') ? host.indexOf(':', host.indexOf(']')) : host.indexOf(':')
  const name = (colon < 0 ? host : host.slice(0, colon)).toLowerCase()
  return name.endsWith('.') ? name.slice(0, -1) : name
}
