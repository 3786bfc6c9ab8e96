import type { IncomingMessage, ServerResponse } from 'node:http'
import { isPlainObject } from './is-plain-object.ts'
import { HttpProxyMiddlewareError } from './middleware-error.ts'
import type { Options, PathRewriteConfig } from './types.ts'

/** The new path and query of a request; not a string: it keeps its own. */
export type PathRewriter<TReq extends IncomingMessage, TRes extends ServerResponse> = (
  path: string,
  req: TReq,
  res: TRes | undefined,
  options: Options<TReq, TRes>,
) => string | undefined | Promise<string | undefined>

/**
 * The rewriter of the option `pathRewrite`; `null` if there is nothing to rewrite. In a table of regular expressions the first one
 * that matches is applied, and no other.
 * @throws {@link HttpProxyMiddlewareError} for another type, SyntaxError for an invalid regular expression.
 */
export function pathRewriter<TReq extends IncomingMessage, TRes extends ServerResponse>(
  rules: PathRewriteConfig<TReq, TRes> | undefined,
): PathRewriter<TReq, TRes> | null {
  if (typeof rules === 'function') return rules
  if (rules === undefined || rules === null) return null
  if (!isPlainObject(rules)) {
    throw new HttpProxyMiddlewareError(
      'Invalid pathRewrite config. Expecting object with pathRewrite config or a rewrite function',
      'HPM_INVALID_PATH_REWRITER_CONFIG',
    )
  }
  const table = Object.entries(rules).map(([pattern, value]) => ({ regexp: new RegExp(pattern), value: String(value) }))
  if (table.length === 0) return null
  return (path) => {
    const rule = table.find(({ regexp }) => regexp.test(path))
    return rule === undefined ? path : path.replace(rule.regexp, rule.value)
  }
}
