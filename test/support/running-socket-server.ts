import type http from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import { resolveOptions } from '../../src/config/resolve.ts'
import type { Core } from '../../src/exchange/services.ts'
import { createListener } from '../../src/fronts/listen.ts'
import { createUpgrades } from '../../src/fronts/node/upgrade.ts'
import { attachUpgrades } from '../../src/fronts/node/upgrade-listeners.ts'
import { serveWeb } from '../../src/fronts/node/web.ts'
import { peerLookup } from '../../src/fronts/peer.ts'
import { createSocketServer, type SocketServer, type SocketServerSettings } from '../../src/fronts/socket/server.ts'
import type { ExchangeRecord, ProxyError, ProxyOptions } from '../../src/index.ts'
import type { Events } from '../../src/observers/events.ts'
import { assemble } from '../../src/proxy/assemble.ts'
import { nextContext } from '../../src/threads/context.ts'
import { queue } from './running-proxy.ts'

/** A socket server that listens, the server behind it, and all that they tell. */
export interface RunningSocketServer extends AsyncDisposable {
  readonly server: SocketServer
  readonly behind: http.Server
  readonly core: Core
  readonly events: Events
  readonly port: number
  readonly url: string
  readonly errors: ProxyError[]
  /** Connections that the socket server gave away. */
  readonly handedOver: Socket[]
  /** The next record that no earlier call has returned; waits for it. */
  nextRecord(): Promise<ExchangeRecord>
}

/** {@link runSocketServer}: besides the proxy's options, the socket server's. */
export interface SocketServerOptions extends Partial<SocketServerSettings> {
  /** Listens with the server behind the socket server alone: what the socket server is compared with. */
  readonly isBare?: boolean
  /** Takes what no route matches. */
  readonly application?: http.RequestListener
}

/** A proxy of the internal pieces, that listens with a socket server. */
export async function runSocketServer(
  options: ProxyOptions,
  own: SocketServerOptions = {},
): Promise<RunningSocketServer> {
  const resolved = resolveOptions({ retry: false, ...options })
  const { core, events, groups } = assemble(resolved, nextContext())
  const { deadlines } = core.services
  const peerOf = peerLookup(core.snapshot.forwarding.isTrusted)
  const behind = createListener(core)
  const { application } = own
  const web: http.RequestListener = (req, res) => {
    const { method = '', url = '', headers } = req
    const isOurs = core.snapshot.router.resolve(method, url, headers.host ?? '').route !== null
    if (application !== undefined && !isOurs) application(req, res)
    else serveWeb(core, peerOf(req.socket), req, res, null)
  }
  behind.on('request', web).on('checkContinue', web)
  const upgrades = createUpgrades(core)
  attachUpgrades(
    behind,
    core.services.clock,
    () => true,
    (req, socket, head) => upgrades.serve(peerOf(req.socket), req, socket, head, null, web),
    () => {},
  )
  const handedOver: Socket[] = []
  if (own.isBare !== true) behind.on('connection', (socket: Socket) => handedOver.push(socket))
  const isShared = application !== undefined
  const server =
    own.isBare === true
      ? (behind as unknown as SocketServer)
      : createSocketServer(core, peerOf, behind, { keepAliveMs: 65_000, isShared, protocols: ['http/1.1'], ...own })
  const errors: ProxyError[] = []
  const records = queue<ExchangeRecord>()
  events.emitter.on('error', (error) => errors.push(error))
  events.emitter.on('finish', (_exchange, record) => records.push(record))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    server,
    behind,
    core,
    events,
    port,
    url: `${own.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    errors,
    handedOver,
    nextRecord: records.next,
    async [Symbol.asyncDispose]() {
      // Not the socket server's own, which the bare server does not have.
      const closed = new Promise((resolve) => net.Server.prototype.close.call(server, resolve))
      upgrades.destroy()
      server.closeAllConnections()
      await closed
      await groups.close()
      deadlines.close()
    },
  }
}
