import {
  confinePath,
  type EncodedSlashes,
  isPlain,
  type PathReading,
  pathOf,
  readPath,
  withSlashesDecoded,
} from '../model/path.ts'
import { createRouter, type RouteRule } from './router.ts'
import { isMethod, parseTarget } from './target.ts'

/** The route of a request, and its path for the backend. */
export interface Resolution<R> {
  /**
   * `null`: no route matches. A request with a {@link fault} gets the route of one of its possible readings, if there
   * is one.
   */
  readonly route: R | null
  /** Path and query in origin form, or `*`. */
  readonly path: string
  /** The host of an absolute-form target, which replaces `Host` (RFC 9112 section 3.2.2), or `null`. */
  readonly host: string | null
  /** Why the request is refused, to follow "the request has" in a message, or `null`. */
  readonly fault: string | null
}

/** The only reader of request targets; see {@link createResolver}. */
export interface Resolver<R> {
  /**
   * Reads a request target and finds its route. All fronts use it, so that they read paths the same way.
   * @param host value of `Host`.
   * @param isHostSet the application has set `Host`, which then overrides the host of an absolute-form target.
   */
  resolve(method: string, target: string, host: string, isHostSet?: boolean): Resolution<R>
  /** Whether some route takes requests with this method. */
  takes(method: string): boolean
  /** Reads a path that gets a prefix, so that it stays below the prefix. */
  confine(path: string): PathReading
}

/** Whether another request of the same client would take the same route as its `own`. */
export function takesSameRoute<R>(
  resolver: Resolver<R>,
  { host, isHostSet }: { readonly host: string; readonly isHostSet: boolean },
  own: { readonly method: string; readonly target: string },
  other: { readonly method: string; readonly target: string },
): boolean {
  const before = resolver.resolve(own.method, own.target, host, isHostSet)
  const after = resolver.resolve(other.method, other.target, before.host ?? host, isHostSet)
  return after.fault === null && after.route === before.route
}

/** Creates a resolver. If no route looks at paths (`looksAtPaths` is false), they pass byte by byte. */
export function createResolver<R extends RouteRule>(
  routes: readonly R[],
  encodedSlashes: EncodedSlashes,
  looksAtPaths: boolean,
): Resolver<R> {
  const router = createRouter(routes)
  return {
    resolve(method, received, host, isHostSet = false) {
      const target = isMethod(method) ? parseTarget(method, received) : null
      if (target === null) {
        const fault = isMethod(method) ? 'an invalid target' : 'an unsupported method'
        return { route: router.match(method, '', '/'), path: '/', host: null, fault }
      }
      const named = isHostSet ? null : target.host
      const name = named ?? host
      const pathname = pathOf(target.path)
      if (!looksAtPaths || isPlain(pathname)) {
        return { route: router.match(method, name, pathname), path: target.path, host: named, fault: null }
      }
      const { path, matched, fault } = readPath(target.path, encodedSlashes)
      const decoded = fault === null ? null : router.match(method, name, withSlashesDecoded(matched))
      return { route: decoded ?? router.match(method, name, matched), path, host: named, fault }
    },
    takes: (method) => routes.some(({ methods }) => methods.length === 0 || methods.includes(method)),
    confine: (path) => confinePath(path, encodedSlashes),
  }
}
