import type http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CheckedListenOptions, ListenerTls, Running } from '../contracts/executor.ts'
import type { Core } from '../exchange/services.ts'
import { CLIENT_KEEP_ALIVE_MS, createListener, listen } from '../fronts/listen.ts'
import { retireServer, stopAccepting } from '../fronts/retire.ts'
import { createSocketServer, type SocketServer } from '../fronts/socket/server.ts'
import type { Requests } from './requests.ts'

/** The proxy's own servers in this thread. */
export class Listeners {
  readonly #core: Core
  readonly #requests: Requests
  readonly #drainTimeoutMs: number
  readonly #servers = new Set<SocketServer>()
  /** Those with TLS, by the number of the listener. */
  readonly #secure = new Map<number, SocketServer>()

  constructor(core: Core, requests: Requests, drainTimeoutMs: number) {
    this.#core = core
    this.#requests = requests
    this.#drainTimeoutMs = drainTimeoutMs
  }

  /** Creates a server that does not listen yet. */
  open({ tls, fallback, protocols, proxyProtocol }: CheckedListenOptions): SocketServer {
    const behind = createListener(this.#core)
    if (fallback === undefined) this.#requests.attach(behind)
    else attachWithFallback(this.#requests, behind, fallback)
    const server = createSocketServer(this.#core, this.#requests.peerOf, behind, {
      keepAliveMs: CLIENT_KEEP_ALIVE_MS,
      tls,
      protocols: protocols ?? (tls === undefined ? ['http/1.1'] : ['h2', 'http/1.1']),
      proxyProtocol,
      isShared: fallback !== undefined,
    })
    this.#servers.add(server)
    if (tls !== undefined) this.#secure.set(tls.listener, server)
    return server
  }

  /** Creates a server and listens, in this thread. Rejects if it cannot listen. */
  async serve(options: CheckedListenOptions): Promise<Running> {
    const server = this.open(options)
    const address = await listen(server, options)
    const drainTimeoutMs = this.#drainTimeoutMs
    return {
      address,
      async close() {
        await stopAccepting(server, [server], drainTimeoutMs)
        await retireServer(server, drainTimeoutMs, server.openConnections, server.answers())
      },
    }
  }

  /** Changes certificates and keys of one listener, for new connections. @returns whether this thread has it. */
  changeTls(tls: ListenerTls): boolean {
    const server = this.#secure.get(tls.listener)
    server?.changeTls?.(tls)
    return server !== undefined
  }

  /** Stops listening. Resolves when all waiting connections have been accepted and no server listens. */
  async stopAccepting(): Promise<void> {
    if (this.#servers.size === 0) return
    const stop = (server: SocketServer): Promise<void> => stopAccepting(server, [server], this.#drainTimeoutMs)
    await Promise.all(Array.from(this.#servers, stop))
  }

  closeAllConnections(): void {
    for (const server of this.#servers) server.closeAllConnections()
  }
}

/**
 * Attaches the proxy to `behind`, the node:http server for requests that our socket server leaves to it. Requests that no route
 * matches go to `fallback`, the application's server.
 */
function attachWithFallback(requests: Requests, behind: http.Server, fallback: http.Server): void {
  const serve = (req: IncomingMessage, res: ServerResponse): void => {
    if (requests.match(req) !== null || fallback.listenerCount('request') === 0) return requests.web(req, res)
    fallback.emit('request', req, res)
  }
  behind.on('request', serve).on('checkContinue', (req, res) => {
    if (requests.match(req) !== null) return requests.web(req, res)
    if (fallback.emit('checkContinue', req, res)) return
    // As node does without a 'checkContinue' listener.
    res.writeContinue()
    serve(req, res)
  })
  behind.on('upgrade', (req, socket, head) => {
    if (requests.match(req) === null && fallback.emit('upgrade', req, socket, head)) return
    requests.upgrade(req, socket, head, null, serve)
  })
}
