import type { IncomingMessage, ServerResponse } from 'node:http'
import { consoleLogger } from '../../index.ts'
import type { ProxyTargetDetailed } from '../http-proxy/index.ts'
import { unheardTo } from '../http-proxy/unheard.ts'
import type { Plugin } from './types.ts'

const CODES = 'https://nodejs.org/api/errors.html#errors_common_system_errors'

/** Logs errors, responses and WebSockets to the option `logger`. Without one it listens to nothing. */
export const loggerPlugin: Plugin = (proxyServer, { logger }) => {
  if (logger === undefined) return
  proxyServer.on('error', (error, req, _res, target) => {
    const from = `${req?.headers?.host}${req?.url}`
    const code = String((error as { code?: unknown }).code ?? error)
    const to = (target as URL | undefined)?.href
    logger.error('[HPM] Error occurred while proxying request %s to %s [%s] (%s)', from, String(to), code, CODES)
  })
  const sent = new WeakMap<ServerResponse, string>()
  proxyServer.on('proxyReq', (proxyReq, _req, res, { target }) => {
    sent.set(res, `${proxyReq.protocol}//${hostOf(target as URL)}${proxyReq.path}`)
  })
  proxyServer.on('proxyRes', ({ statusCode }, req, res) => {
    logger.info(`[HPM] ${req.method} ${originalUrl(req)} -> ${sent.get(res)} [${statusCode}]`)
  })
  proxyServer.on('open', (socket) => logger.info('[HPM] Client connected: %o', socket.address()))
  proxyServer.on('close', (_res, socket) => logger.info('[HPM] Client disconnected: %o', socket.address()))
}

/** Writes failures to standard error, one line each: for a middleware whose application hears of none. */
export const unheardPlugin: Plugin = (proxyServer) => {
  const unheard = unheardTo(consoleLogger({ level: 'error' }))
  proxyServer.on('error', (error, req) => {
    const what = req === undefined ? 'a request' : `${req.method} ${originalUrl(req)}`
    unheard(`${what} failed, and there is neither on.error nor a logger`, error)
  })
}

/** The URL with the mount path of Express and its kind. */
function originalUrl(req: IncomingMessage): string {
  const { originalUrl: original, baseUrl = '' } = req as { originalUrl?: string; baseUrl?: string }
  return original ?? `${baseUrl}${req.url}`
}

function hostOf(target: URL | ProxyTargetDetailed): string {
  const { hostname, host, port, socketPath } = target as ProxyTargetDetailed
  const name = socketPath ?? hostname ?? host ?? 'localhost'
  return port ? `${name}:${port}` : name
}
