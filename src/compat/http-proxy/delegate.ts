import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createProxyServer, type ProxyServer, type ServerOptions as TheirOptions } from 'http-proxy-3'
import type { Listeners } from './call.ts'
import { countOpen } from './open-sockets.ts'
import { respondWith } from './respond.ts'
import type { NormalizedServerOptions, ProxyTargetDetailed } from './types.ts'

/** Options that only http-proxy-3 has. */
const THEIRS = ['agent', 'toProxy', 'fetch', 'fetchOptions', 'localAddress'] as const
const THEIR_TLS = ['pfx', 'passphrase', 'ciphers', 'secureProtocol'] as const

/** Whether http-proxy-3 must carry a call with these options. */
export function isTheirs(options: NormalizedServerOptions): boolean {
  for (const name of THEIRS) if (options[name]) return true
  return hasTheirTls(options.target) || hasTheirTls(options.forward)
}

function hasTheirTls(target: NormalizedServerOptions['target']): boolean {
  if (target === undefined || target instanceof URL) return false
  return THEIR_TLS.some((name) => target[name] !== undefined) || isSecureSocket(target)
}

/** TLS over a unix socket. */
function isSecureSocket({ socketPath, protocol }: ProxyTargetDetailed): boolean {
  return socketPath !== undefined && /^(?:https|wss)/.test(protocol ?? '')
}

type Failed = (error: Error) => void

/** Hands calls to http-proxy-3, with its faults mended that can be mended from outside. Its events are ours. */
export class Delegate {
  readonly #listeners: Listeners
  #server: ProxyServer | null = null

  constructor(listeners: Listeners) {
    this.#listeners = listeners
  }

  web(req: IncomingMessage, res: ServerResponse, options: NormalizedServerOptions, onFailed: Failed): void {
    this.#theirs().web(req, res, theirOptions(options), onFailed)
  }

  ws(req: IncomingMessage, socket: Duplex, head: Buffer, options: NormalizedServerOptions, onFailed: Failed): void {
    this.#theirs().ws(req, socket, head, theirOptions(options), onFailed)
  }

  #theirs(): ProxyServer {
    if (this.#server !== null) return this.#server
    const listeners = this.#listeners
    const server = createProxyServer()
    this.#server = server
    server.before('web', 'stream', keepFraming)
    // They would throw an error that nobody listens to. Failures of calls go to the callback.
    server.on(
      'error',
      (error, req, socket) =>
        void (listeners.listenerCount('error') > 0 && listeners.notify('error', error, req, socket)),
    )
    for (const event of ['econnreset', 'end', 'close'] as const)
      server.on(event as 'end', (...args) => listeners.notify(event, ...args))
    server.on('open', (socket: Socket) => {
      countOpen(socket)
      listeners.notify('open', socket)
    })
    server.on('proxyReq', (proxyReq, ...rest) =>
      this.#guarded((error) => proxyReq.destroy(error), 'proxyReq', proxyReq, ...rest),
    )
    server.on('proxyReqWs', (proxyReq, ...rest) =>
      this.#guarded((error) => proxyReq.destroy(error), 'proxyReqWs', proxyReq, ...rest),
    )
    server.on('proxyRes', (proxyRes, req, res) => {
      // A response of `fetch` is no stream.
      if (typeof proxyRes.on === 'function') endWith(proxyRes, res)
      this.#guarded((error) => respondWith(res, error, 500), 'proxyRes', proxyRes, req, res)
    })
    return server
  }

  /** A listener that throws ends its request, and not the process: they call from events of sockets. */
  #guarded(end: (error: Error) => void, event: string, ...args: unknown[]): void {
    try {
      this.#listeners.emit(event, ...args)
    } catch (thrown) {
      this.#listeners.logger.error({ err: thrown }, `a listener of '${event}' threw`)
      end(thrown instanceof Error ? thrown : new Error(String(thrown)))
    }
  }
}

/** Without what has been done already. They write into `ssl`, for all later calls. */
function theirOptions(options: NormalizedServerOptions): TheirOptions {
  const { followRedirects, ssl } = options
  const maxRedirects = typeof followRedirects === 'number' ? { maxRedirects: followRedirects } : {}
  return {
    ...(options as TheirOptions),
    followRedirects: Boolean(followRedirects),
    // Otherwise a relative redirect would lead to the host that the client has named, whichever that is.
    ...(followRedirects && { changeOrigin: true }),
    ssl: { ...ssl, ...maxRedirects },
    xfwd: false,
  }
}

/** A pass of theirs announces an empty body for every DELETE and OPTIONS, and then sends the body. */
function keepFraming(req: IncomingMessage): void {
  const { headers, rawHeaders } = req
  const isChunked = rawHeaders.some((name, i) => i % 2 === 0 && name.toLowerCase() === 'transfer-encoding')
  if (!isChunked || headers['transfer-encoding'] !== undefined) return
  delete headers['content-length']
  headers['transfer-encoding'] = 'chunked'
}

/** They would leave the client waiting for the rest of a truncated response. */
function endWith(proxyRes: IncomingMessage, res: ServerResponse): void {
  proxyRes.on('error', () => {})
  proxyRes.once('close', () => {
    if (!proxyRes.complete) res.destroy()
  })
}
