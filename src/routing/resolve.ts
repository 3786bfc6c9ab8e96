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

/** Where a request goes, and what of its target goes there. */
export interface Resolution<R> {
  /** `null`: no route matches. A request with a {@link fault} has the route of one of its readings, if any of them has one. */
  readonly route: R | null
  /** Path and query in origin form, or `*`. */
  readonly path: string
  /** The host of an absolute-form target, which replaces `Host` (RFC 9112 section 3.2.2), or `null`. */
  readonly host: string | null
  /** Why the request cannot be passed on, to follow "the request has", or `null`. */
  readonly fault: string | null
}

/** The only reader of request targets; see {@link createResolver}. */
export interface Resolver<R> {
  /**
   * Reads a request target and finds its route: the same for every front, so that none takes a path for another.
   * @param host value of `Host`. @param isHostSet the application has set it: it counts for more than an absolute-form target's.
   */
  resolve(method: string, target: string, host: string, isHostSet?: boolean): Resolution<R>
  /** Changes a path so that it stays below whatever is put before it, or says why it cannot. */
  confine(path: string): PathReading
}

/** Makes a resolver. If no route looks at paths (`looksAtPaths`), they pass byte by byte. */
export function createResolver<R extends RouteRule>(
  routes: readonly R[],
  encodedSlashes: EncodedSlashes,
  looksAtPaths: boolean,
): Resolver<R> {
  const router = createRouter(routes)
  return {
    resolve(method, given, host, isHostSet = false) {
      const target = isMethod(method) ? parseTarget(method, given) : null
      if (target === null) {
        const fault = isMethod(method) ? 'a target that cannot be passed on' : 'a method that cannot be passed on'
        return { route: router.match(method, '', '/'), path: '/', host: null, fault }
      }
      const named = isHostSet ? null : target.host
      const name = named ?? host
      const plain = pathOf(target.path)
      if (!looksAtPaths || isPlain(plain)) {
        return { route: router.match(method, name, plain), path: target.path, host: named, fault: null }
      }
      const { path, matched, fault } = readPath(target.path, encodedSlashes)
      const decoded = fault === null ? null : router.match(method, name, withSlashesDecoded(matched))
      return { route: decoded ?? router.match(method, name, matched), path, host: named, fault }
    },
    confine: (path) => confinePath(path, encodedSlashes),
  }
}
