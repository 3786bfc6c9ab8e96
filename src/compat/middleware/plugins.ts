import type { IncomingMessage, ServerResponse } from 'node:http'
import { errorResponsePlugin } from './error-response.ts'
import { loggerPlugin, unheardPlugin } from './log-events.ts'
import { proxyEventsPlugin } from './proxy-events.ts'
import type { Options, Plugin } from './types.ts'

/** Types a plugin. */
export function definePlugin<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
>(plugin: Plugin<TReq, TRes>): Plugin<TReq, TRes> {
  return plugin
}

/** Listens to errors, so that they are not passed to the next middleware. */
export const debugProxyErrorsPlugin: Plugin = (proxyServer) => {
  proxyServer.on('error', () => {})
}

/** The plugins of a middleware, in their order. A listener `on.error` replaces the default error response. */
export function pluginsOf<TReq extends IncomingMessage, TRes extends ServerResponse>(
  options: Options<TReq, TRes>,
): readonly Plugin<TReq, TRes>[] {
  const { ejectPlugins = false, logger, on, plugins = [] } = options
  const own: unknown[] = ejectPlugins ? [] : [debugProxyErrorsPlugin, proxyEventsPlugin, loggerPlugin]
  if (!ejectPlugins && on?.error === undefined) own.push(errorResponsePlugin)
  if (!ejectPlugins && on?.error === undefined && logger === undefined && plugins.length === 0) own.push(unheardPlugin)
  return [...own, ...plugins] as Plugin<TReq, TRes>[]
}
