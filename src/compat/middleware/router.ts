import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ProxyTarget } from '../http-proxy/index.ts'
import { isPlainObject } from './is-plain-object.ts'
import type { Options } from './types.ts'

/** The target of a request; `undefined`: the option `target`. */
export type Router<TReq extends IncomingMessage, TRes extends ServerResponse> = (
  req: TReq,
  res: TRes | undefined,
  options: Options<TReq, TRes>,
) => ProxyTarget | undefined | Promise<ProxyTarget | undefined>

/** The router of the option `router`; `null` if there is none. */
export function targetRouter<TReq extends IncomingMessage, TRes extends ServerResponse>(
  router: Options<TReq, TRes>['router'],
): Router<TReq, TRes> | null {
  if (typeof router === 'function') return router
  if (!isPlainObject(router)) return null
  const table = Object.entries(router).map(([key, target]) => ({ ...readKey(key), target: target as ProxyTarget }))
  return ({ headers: { host = '' }, url = '' }) =>
    table.find((entry) => (entry.host === null || entry.host === host) && url.startsWith(entry.path))?.target
}

/** `host:port`, `host:port/path` or `/path`: the host is compared whole, the path is a prefix. */
function readKey(key: string): { readonly host: string | null; readonly path: string } {
  const slash = key.indexOf('/')
  if (slash < 0) return { host: key, path: '' }
  return { host: slash === 0 ? null : key.slice(0, slash), path: key.slice(slash) }
}
