import type http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import tls, { type SecureContextOptions } from 'node:tls'
import type { EventEmitter } from 'eventemitter3'
import { resolveBackends } from '../config/backends.ts'
import { UNNAMED } from '../config/consistency.ts'
import type { ProxyOptions, ResolvedOptions } from '../config/options.ts'
import { resolveOptions } from '../config/resolve.ts'
import { threadOptions } from '../config/thread-options.ts'
import type { Job, ListenOptions, Running } from '../contracts/executor.ts'
import type { Destination } from '../exchange/services.ts'
import { CLIENT_KEEP_ALIVE_MS, createListener, listen, listenOptions } from '../fronts/listen.ts'
import { attachUpgrades } from '../fronts/node/attach.ts'
import { createUpgrades, type OrdinaryHandler, type Upgrades } from '../fronts/node/upgrade.ts'
import { serveWeb, type WebCall } from '../fronts/node/web.ts'
import { peerLookup } from '../fronts/peer.ts'
import { retireServer, stopAccepting } from '../fronts/retire.ts'
import { createSocketServer, type SocketServer } from '../fronts/socket/server.ts'
import { destroyGuarded } from '../fronts/tcp.ts'
import type { Group } from '../groups/group.ts'
import { fieldValue, isHost } from '../http1/fields.ts'
import type { Backend, BackendInit } from '../model/backend.ts'
import { describeError, ProxyError } from '../model/errors.ts'
import type { Events, ProxyEvents } from '../observers/events.ts'
import { assertCloneable } from '../runtime/cloneable.ts'
import { privateStateMemory, SharedStateMemory } from '../runtime/state-memory.ts'
import { FORWARDED, forwarder, fromPlain } from '../threads/bridge.ts'
import { members, nextContext, type ThreadContext, type ThreadJob, type ThreadsChange } from '../threads/context.ts'
import { assemble } from './assemble.ts'
import { PastThreads, proxyStats } from './stats.ts'
import type { CallOverrides, HttpServer, Proxy } from './types.ts'

/** How often {@link Proxy.drain} looks whether all has ended, ms. */
const DRAIN_LOOK_MS = 20

/**
 * Makes a proxy.
 * @throws {@link OptionsError} that names every fault of the options.
 */
export function createProxy(options: ProxyOptions): Proxy {
  const resolved = resolveOptions(options)
  const { executor } = resolved
  if (executor.maxThreads === 0) return makeProxy(resolved, nextContext(), null)
  // The calling thread is one of those that share the memory.
  const names = Array.from(resolved.groups.values()).reduce((sum, { backends }) => sum + backends.length + 1, 0)
  const buffer = SharedStateMemory.allocate(executor.maxThreads + 1, names)
  const context: ThreadContext = {
    namespace: '0',
    memory: new SharedStateMemory(buffer, 0),
    counters: privateStateMemory.counters(''),
    thread: 0,
    clearsState: true,
    writeLine: null,
  }
  const { logger = 'silent' } = options
  const job: ThreadJob = {
    options: threadOptions(options),
    isLogging: logger !== 'silent',
    accessLog: resolved.accessLog.format,
  }
  return makeProxy(resolved, context, { options: job, memory: buffer })
}

function makeProxy(
  resolved: ResolvedOptions,
  context: ThreadContext,
  job: Pick<Job, 'options' | 'memory'> | null,
): Proxy {
  const { clock, logger } = resolved
  const { parts, groups, accessLog } = assemble(resolved, context)
  const { events, state } = parts
  const peerOf = peerLookup(parts.isTrusted)
  const servers = new Set<SocketServer>()
  const running = new Set<Running>()
  /** What begins to listen. */
  const pending = new Set<Promise<Running>>()
  /** What threads that begin later must be told, by what it is about. */
  const changes = new Map<string, ThreadsChange>()
  const past = new PastThreads()
  const attached = new WeakSet<HttpServer>()
  let upgrades: Upgrades | null = null
  let closing: Promise<void> | null = null

  function backendNamed(group: Group, id: string): Backend {
    const backend = group.backends.find((one) => one.id === id)
    if (backend !== undefined) return backend
    const ids = group.backends.map((one) => one.id).join(', ')
    const known = ids === '' ? 'it has none' : `its backends are ${ids}`
    throw new RangeError(`group ${group.name} has no backend ${JSON.stringify(id)}; ${known}`)
  }

  function openServer({ tls, fallback }: ListenOptions): SocketServer {
    const behind = createListener(parts)
    if (fallback === undefined) proxy.attach(behind)
    else attachWithFallback(behind, fallback)
    const lane = createSocketServer(parts, peerOf, behind, {
      keepAliveMs: CLIENT_KEEP_ALIVE_MS,
      tls,
      isShared: fallback !== undefined,
    })
    servers.add(lane)
    return lane
  }

  /** The server behind a lane serves what the lane leaves of our routes, and gives everything else to the application's. */
  function attachWithFallback(behind: http.Server, fallback: http.Server): void {
    const serve = (req: IncomingMessage, res: ServerResponse): void => {
      if (matches(req) !== null || fallback.listenerCount('request') === 0) return web(req, res)
      fallback.emit('request', req, res)
    }
    behind.on('request', serve).on('checkContinue', (req, res) => {
      if (matches(req) !== null) return web(req, res)
      if (fallback.emit('checkContinue', req, res)) return
      // As node does where nobody listens.
      res.writeContinue()
      serve(req, res)
    })
    behind.on('upgrade', (req, socket, head) => {
      if (matches(req) === null && fallback.emit('upgrade', req, socket, head)) return
      upgrade(req, socket, head, undefined, serve)
    })
  }

  function replaceCertificate(options: SecureContextOptions): void {
    for (const server of servers) server.setSecureContext?.(options)
  }

  /** Serves in this thread. */
  async function serveHere(where: ListenOptions): Promise<Running> {
    const server = openServer(where)
    const address = await listen(server, where)
    return {
      address,
      threads: () => [],
      change: () => Promise.resolve(),
      hear() {},
      reload: () => Promise.resolve(),
      async close() {
        await stopAccepting(server, [server], resolved.drainTimeoutMs)
        await retireServer(server, resolved.drainTimeoutMs, server.openConnections, server.answers())
      },
    }
  }

  const observer: Job['observer'] = {
    onThread(change) {
      if (change.what === 'ended' || change.what === 'died') past.add(change.stats, groups.named)
      events.emit('thread', change)
    },
    onLines(lines) {
      for (const line of lines) accessLog?.writeLine(line)
    },
    onEvent(_thread, event, args) {
      const values = args.map((arg) =>
        fromPlain(arg as Parameters<typeof fromPlain>[0], (id) => groups.findBackend(id)),
      )
      emitAny(events, event, values)
      // It was for once.
      if (!events.has(event as keyof ProxyEvents)) tellHeard()
    },
    // Where nobody listens it is not heard.
    get onFailed() {
      if (!events.has('error')) return undefined
      return (error: Error) => events.emit('error', new ProxyError('ERR_PROXY_THREADS', error.message), null)
    },
  }

  function heard(): string[] {
    return FORWARDED.filter((event) => events.has(event))
  }

  /** The events that somebody hears may have changed. */
  function tellHeard(): void {
    for (const one of running) one.hear(heard())
  }

  /** Resolves when all have made the change: those that serve, those that begin to, and in their time those that come later. */
  async function tellThreads(about: string, change: ThreadsChange): Promise<void> {
    changes.delete(about)
    changes.set(about, change)
    const tell = (one: Running): Promise<void> => one.change(about, change)
    const told = Array.from(running, tell)
    // Where one cannot begin, whoever asked for it is told.
    for (const one of pending) told.push(one.then(tell, ignore))
    await Promise.all(told)
  }

  /** Where the overrides send it. A mistake in them ends the one exchange, not the application. */
  function routed({ target, group, timeouts }: CallOverrides): Pick<WebCall, 'destination' | 'timeouts' | 'fault'> {
    if (target === undefined && group === undefined) return { timeouts }
    try {
      if (target !== undefined) return { destination: groups.target(String(target)), timeouts }
      return { destination: groups.everythingTo(group as string), timeouts }
    } catch (error) {
      return { fault: `the override ${target === undefined ? 'group' : 'target'}: ${describeError(error)}` }
    }
  }

  const web: Proxy['web'] = (req, res, overrides) => {
    // A framework may call it with its own third argument.
    const isOurs = typeof overrides === 'object' && overrides !== null
    try {
      const call = isOurs ? { ...routed(overrides), body: overrides.body, onError: overrides.onError } : null
      serveWeb(parts, peerOf(req.socket), req, res, call)
    } catch (error) {
      tellFault(error)
      destroyGuarded(res)
    }
  }

  /** Of ours, or of what an application has put around its request and response. */
  function tellFault(error: unknown): void {
    logger.error({ err: error }, `a request could not be carried: ${describeError(error)}`)
  }

  const upgrade = (
    req: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    overrides: CallOverrides | undefined,
    ordinary: OrdinaryHandler,
  ): void => {
    try {
      upgrades ??= createUpgrades(parts)
      const call = typeof overrides === 'object' && overrides !== null ? routed(overrides) : null
      upgrades.serve(peerOf(req.socket), req, socket, head, call, ordinary)
    } catch (error) {
      tellFault(error)
      destroyGuarded(socket)
    }
  }
  const ws: Proxy['ws'] = (req, socket, head, overrides) =>
    upgrade(req, socket, head, overrides, (request, response) => web(request, response, overrides))

  function matches(req: IncomingMessage): Destination | null {
    const { method = 'GET', url = '/' } = req
    const given: unknown = req.headers.host
    // What is no host is ours to refuse, too.
    const host = typeof given === 'string' && isHost(given) ? given : ''
    const isHostSet = host !== '' && host !== fieldValue(req.rawHeaders, 'host')
    return parts.claim(method, url, host, isHostSet)
  }

  const proxy: Proxy = {
    web,
    ws,
    attach(server) {
      if (attached.has(server)) return proxy
      attached.add(server)
      if (server.listenerCount('request') === 0) server.on('request', web).on('checkContinue', web)
      attachUpgrades(
        server,
        (req) => matches(req) !== null,
        (req, socket, head) =>
          upgrade(req, socket, head, undefined, (request, response) => server.emit('request', request, response)),
      )
      return proxy
    },
    async listen(where) {
      if (closing !== null) throw new ProxyError('ERR_PROXY_CLOSED', 'the proxy is closed and cannot listen again')
      const options = listenOptions(where)
      const starting = resolved.executor.start({
        ...job,
        changes,
        listen: options,
        serve: serveHere,
        drainTimeoutMs: resolved.drainTimeoutMs,
        logger,
        observer,
      })
      pending.add(starting)
      const started = await starting.finally(() => pending.delete(starting))
      if (closing !== null) throw new ProxyError('ERR_PROXY_CLOSED', 'the proxy was closed before it listened')
      running.add(started)
      tellHeard()
      const { address } = started
      logger.info(
        { url: address.url, host: address.host, port: address.port },
        `listening on ${address.url || address.host}`,
      )
      return address
    },
    middleware({ passErrors = false } = {}) {
      return (req, res, next) => {
        const destination = matches(req)
        if (destination === null) return next()
        const call: WebCall = passErrors ? { destination, onError: next } : { destination }
        serveWeb(parts, peerOf(req.socket), req, res, call)
      }
    },
    on(event, listener) {
      emitterOf(events).on(event, listener)
      tellHeard()
      return proxy
    },
    once(event, listener) {
      emitterOf(events).once(event, listener)
      tellHeard()
      return proxy
    },
    off(event, listener) {
      emitterOf(events).off(event, listener)
      tellHeard()
      return proxy
    },
    stats: () => proxyStats(state, groups.named, running, past),
    async setBackends(backends, name = UNNAMED) {
      const group = groups.find(name)
      const inits = resolveBackends(backends, group.backends)
      // Where it cannot be sent, nothing changes here either.
      const sent = job === null ? [] : (threadOptions({ backends: [...inits] }).backends as BackendInit[])
      const giveUp = groups.replace(group, inits)
      await tellThreads(name, { group: name, backends: sent })
      giveUp()
    },
    async setSecureContext(options) {
      tls.createSecureContext(options)
      if (job !== null) assertCloneable('the secure context', options)
      replaceCertificate(options)
      await tellThreads('the certificate', { secureContext: options })
    },
    async drain(id, name = UNNAMED) {
      const group = groups.find(name)
      const backend = backendNamed(group, id)
      backend.state.isDraining = true
      group.changed()
      while (backend.isDraining && backend.pending > 0) {
        await new Promise<void>((resolve) => clock.schedule(DRAIN_LOOK_MS, resolve))
      }
    },
    undrain(id, name = UNNAMED) {
      const group = groups.find(name)
      backendNamed(group, id).state.isDraining = false
      group.changed()
    },
    disable(id, name = UNNAMED) {
      const group = groups.find(name)
      const backend = backendNamed(group, id)
      backend.state.isDisabled = true
      group.changed(backend)
    },
    enable(id, name = UNNAMED) {
      const group = groups.find(name)
      const backend = backendNamed(group, id)
      backend.state.isDisabled = false
      group.changed(backend)
    },
    async reload() {
      await Promise.all(Array.from(running, (one) => one.reload()))
    },
    close() {
      closing ??= closeAll()
      return closing
    },
    [Symbol.asyncDispose]: () => proxy.close(),
  }

  async function closeAll(): Promise<void> {
    const starting = Array.from(pending)
    let cancel = (): void => {}
    const graceIsOver = new Promise<void>((resolve) => {
      cancel = clock.schedule(resolved.drainTimeoutMs, resolve)
    })
    // Before a response says that its connection ends: its client would come back, and find nobody.
    if (servers.size > 0) {
      await Promise.all(Array.from(servers, (server) => stopAccepting(server, [server], resolved.drainTimeoutMs)))
    }
    state.isClosing = true
    const closed = Array.from(running, (one) => one.close())
    // Where one cannot begin, whoever asked for it is told.
    for (const one of starting) closed.push(one.then((started) => started.close(), ignore))
    upgrades?.goAway()
    await Promise.race([graceIsOver, untilDrained(closed)])
    cancel()
    state.isClosed = true
    upgrades?.destroy()
    for (const server of servers) server.closeAllConnections()
    await Promise.all([...closed, groups.close()])
    parts.deadlines.close()
    await accessLog?.close()
    events.emit('close')
  }

  /** Resolves when our listeners have no connection, and no exchange runs anywhere. */
  async function untilDrained(closed: readonly Promise<void>[]): Promise<void> {
    await Promise.allSettled(closed)
    while (state.active > 0) {
      await new Promise<void>((resolve) => {
        state.onIdle = resolve
      })
    }
  }

  if (context.thread > 0) {
    members.push({
      createServer: openServer,
      pools: () => groups.named.map((group) => ({ group: group.name, pool: group.poolStats() })),
      goAway() {
        state.isClosing = true
        upgrades?.goAway()
      },
      close: () => proxy.close(),
      hear: forwarder(events),
      change(change, isNew) {
        if ('secureContext' in change) {
          replaceCertificate(change.secureContext)
          return servers.size > 0
        }
        const group = groups.named.find(({ name }) => name === change.group)
        if (group !== undefined) groups.replace(group, resolveBackends(change.backends, group.backends), isNew)
        return group !== undefined
      },
    })
  }
  return proxy
}

function ignore(): void {}

/** eventemitter3's types cannot follow a generic event name. */
function emitterOf(events: Events): EventEmitter<string> {
  return events.emitter as unknown as EventEmitter<string>
}

/** An event by a name that is only known at run time. */
function emitAny(events: Events, event: string, args: readonly unknown[]): void {
  const emit = events.emit.bind(events) as (event: string, ...args: readonly unknown[]) => void
  emit(event, ...args)
}
