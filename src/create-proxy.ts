import type http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type https from 'node:https'
import type { Duplex } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import type { EventEmitter } from 'eventemitter3'
import type { Job, ListenAddress, ListenOptions, Running, ThreadStats } from './contracts/executor.ts'
import type { BackendPoolStats, PoolStats } from './contracts/pool.ts'
import { attachUpgrades } from './fronts/attach.ts'
import { createLane, type Lane } from './fronts/lane.ts'
import { CLIENT_KEEP_ALIVE_MS, createListener, listen } from './fronts/listener.ts'
import { peerLookup } from './fronts/peer.ts'
import { createUpgrades, type OrdinaryHandler, type Upgrades } from './fronts/upgrade.ts'
import { serveWeb, type WebCall } from './fronts/web.ts'
import { lineWriter, recordFormatter } from './loggers/index.ts'
import { Backend, type BackendInit } from './model/backend.ts'
import { Deadlines } from './model/deadlines.ts'
import { describeError, ProxyError } from './model/errors.ts'
import { type Memory, privateMemory, SharedMemory } from './model/memory.ts'
import type { ExchangeRecord } from './model/record.ts'
import { UNNAMED } from './options/consistency.ts'
import { threadOptions } from './options/thread-options.ts'
import type { ProxyOptions, ResolvedGroup, ResolvedOptions, TimeoutOptions } from './options.ts'
import { http1Pool } from './pools/http1-pool.ts'
import { Events, type ProxyEvents } from './request/events.ts'
import { Group } from './request/group.ts'
import { type Destination, type Parts, ProxyState } from './request/parts.ts'
import { createRouter } from './request/router.ts'
import { parseTarget, withoutDotSegments } from './request/target.ts'
import { trustMatcher } from './request/trusted.ts'
import { resolveOptions } from './resolve-options.ts'
import { members, nextContext, type ThreadContext, type ThreadJob } from './thread-context.ts'
import { FORWARDED, forwarder, fromPlain } from './thread-events.ts'

/** What one call may say differently from the proxy's options. */
export interface CallOverrides {
  /** Send it to this backend, whatever the routes say. */
  target?: string | URL
  /** Send it to this group, whatever the routes say. */
  group?: string
  timeouts?: TimeoutOptions
}

/** {@link CallOverrides} of `proxy.web`. */
export interface WebOverrides extends CallOverrides {
  /** The request's body, where the application has read it. */
  body?: Buffer
  /** Answer failures yourself; called at most once, when nothing has been sent to the client. */
  onError?: (error: ProxyError) => void
}

/** Options of `proxy.middleware()`. */
export interface MiddlewareOptions {
  /** Give failures to the framework (`next(error)`) in place of our own answer. Default false. */
  passErrors?: boolean
}

/** A connect-style handler: express, connect, polka, restify. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void

/** Any of node's HTTP/1.1 servers. */
export type HttpServer = http.Server | https.Server

/** Figures of one backend. */
export interface BackendStats {
  readonly id: string
  readonly url: string
  readonly weight: number
  readonly pending: number
  readonly isAvailable: boolean
  readonly isEjected: boolean
}

/** Figures of a proxy, those of its threads added up. */
export interface ProxyStats {
  /** Exchanges since the start. */
  readonly exchanges: number
  /** Exchanges that have not ended, upgraded connections among them. */
  readonly active: number
  /** Of each thread of the executor; none where the calling thread serves. */
  readonly threads: readonly Omit<ThreadStats, 'pools'>[]
  readonly groups: readonly {
    readonly name: string
    readonly backends: readonly BackendStats[]
    readonly pool: PoolStats
  }[]
}

/** A reverse proxy, to compose into a server or to listen by itself. */
export interface Proxy extends AsyncDisposable {
  /** Answers a request through a backend. Bound; never throws. */
  readonly web: (req: IncomingMessage, res: ServerResponse, overrides?: WebOverrides) => void
  /** Carries an upgrade (WebSocket) through to a backend. Bound; never throws. */
  readonly ws: (req: IncomingMessage, socket: Duplex, head: Buffer, overrides?: CallOverrides) => void
  /**
   * Serves `server`: its upgrades always, its requests where it has no handler of its own yet (and then `Expect:
   * 100-continue` end to end). Upgrades that no route matches are left to the server's other listeners.
   */
  attach(server: HttpServer): Proxy
  /** Listens with a server of its own. @returns where. Rejects where it cannot. */
  listen(where: number | ListenOptions): Promise<ListenAddress>
  /** For connect-style hosts: what no route matches goes to the next middleware. */
  middleware(options?: MiddlewareOptions): Middleware
  on<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  once<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  off<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  stats(): ProxyStats
  /**
   * From now on the group has these backends. One that was there before, with the same id, URL, weight and TLS settings, keeps
   * its state and its connections; one that is gone finishes what it has. Resolves when every thread has made the change.
   * @throws {@link OptionsError} for backends that cannot be.
   */
  setBackends(backends: readonly (string | URL | BackendInit)[], group?: string): Promise<void>
  /** Gives the backend nothing new, in any thread; resolves when all that it had has ended. @throws RangeError for an unknown one. */
  drain(backend: string, group?: string): Promise<void>
  /** Ends {@link drain}. */
  undrain(backend: string, group?: string): void
  /** Replaces the executor's threads, one at a time, without refusing or cutting a request. */
  reload(): Promise<void>
  /**
   * Ends gracefully: stops listening, lets exchanges finish, asks WebSockets to close (1001), and after
   * `closeGraceMs` ends what is left. Calling it again returns the same promise.
   */
  close(): Promise<void>
}

/** Single-backend groups made for `target` overrides are kept for their connections, this many. */
const MAX_TARGET_GROUPS = 256

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
  const buffer = SharedMemory.allocate(executor.maxThreads + 1)
  const context: ThreadContext = {
    namespace: '0',
    memory: new SharedMemory(buffer, 0),
    counters: privateMemory.counters(''),
    thread: 0,
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
  const events = new Events(logger)
  const deadlines = new Deadlines(clock)
  const state = new ProxyState(context.counters)
  const groups = new Map(Array.from(resolved.groups, ([name, group]) => [name, buildGroup(group, context.memory)]))
  const targets = new Map<string, Destination>()
  const router = createRouter(resolved.routes)
  const isTrusted = trustMatcher(resolved.trustedProxies)
  const accessLog = openAccessLog(resolved, context.writeLine)
  const parts: Parts = {
    thread: context.thread,
    clock,
    deadlines,
    events,
    logger,
    accessLog: accessLog?.write ?? null,
    router,
    find(method, host, path) {
      const route = router.match(method, host, path.includes('?') ? path.slice(0, path.indexOf('?')) : path)
      return route === null ? null : { route, group: groups.get(route.group) as Group }
    },
    headerPolicy: { xfwd: resolved.xfwd, via: resolved.via },
    hostHeader: resolved.hostHeader,
    via: resolved.via,
    limits: resolved.limits,
    timeouts: resolved.timeouts,
    isTrusted,
    state,
  }
  const peerOf = peerLookup(isTrusted)
  const servers = new Set<Lane>()
  const running = new Set<Running>()
  /** What begins to listen. */
  const pending = new Set<Promise<Running>>()
  const attached = new WeakSet<HttpServer>()
  let upgrades: Upgrades | null = null
  let closing: Promise<void> | null = null

  function buildGroup(group: ResolvedGroup, memory: Memory): Group {
    return new Group({
      name: group.name,
      backends: group.backends.map((init) => buildBackend(group.name, init, memory)),
      balancer: group.balancer,
      pool: 'acquire' in group.pool ? group.pool : http1Pool(group.pool, { clock, deadlines }),
      healthCheck: group.healthCheck,
      maxEjectedPercent: group.maxEjectedPercent,
      retry: group.retry,
      clock,
      cells: memory.cells(`${context.namespace} group ${group.name}`),
      isShared: memory.isShared,
      onEject(backend, ms, reason) {
        logger.warn(
          { backend: backend.id, group: group.name, ms },
          `ejected backend ${backend.id} for ${ms} ms: ${reason}`,
        )
        events.emit('eject', backend, ms, reason)
      },
      onUneject(backend) {
        logger.info({ backend: backend.id, group: group.name }, `backend ${backend.id} is back in the balance`)
        events.emit('uneject', backend)
      },
    })
  }

  function buildBackend(group: string, init: BackendInit, memory: Memory): Backend {
    const { id, url } = new Backend(init)
    return new Backend(init, memory.cells(`${context.namespace} group ${group} backend ${id} ${url.href}`))
  }

  /** In the background: what runs may take long. */
  function drainPool(group: Group, backend: Backend): void {
    group.pool.drain(backend).catch((error: unknown) => {
      logger.error({ err: error, group: group.name }, `the pool of group ${group.name} threw: ${describeError(error)}`)
    })
  }

  function groupNamed(name: string): Group {
    const group = groups.get(name)
    if (group !== undefined) return group
    throw new RangeError(
      `there is no group ${JSON.stringify(name)}; the groups are ${Array.from(groups.keys()).join(', ')}`,
    )
  }

  function backendNamed(group: Group, id: string): Backend {
    const backend = group.backends.find((one) => one.id === id)
    if (backend !== undefined) return backend
    const ids = group.backends.map((one) => one.id).join(', ')
    throw new RangeError(`group ${group.name} has no backend ${JSON.stringify(id)}; its backends are ${ids}`)
  }

  function replaceBackends(group: Group, inits: readonly BackendInit[]): void {
    const before = new Map(group.backends.map((backend) => [backend.id, backend]))
    const after = inits.map((init) => {
      const backend = buildBackend(group.name, init, context.memory)
      const old = before.get(backend.id)
      if (old === undefined || !isSame(old, backend)) {
        // Shared numbers outlive the backend that had them. Once is enough, and this is before the threads hear of it.
        if (context.thread === 0) backend.cells.clearStates()
        return backend
      }
      before.delete(backend.id)
      return old
    })
    group.replace(after)
    for (const gone of before.values()) drainPool(group, gone)
  }

  function openServer({ tls, fallback }: ListenOptions): Lane {
    const behind = createListener(parts)
    if (fallback === undefined) proxy.attach(behind)
    else attachWithFallback(behind, fallback)
    const lane = createLane(parts, peerOf, behind, {
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

  /** Serves in this thread. */
  async function serveHere(where: ListenOptions): Promise<Running> {
    const server = openServer(where)
    const address = await listen(server, where)
    return {
      address,
      pastExchanges: 0,
      threads: () => [],
      change: () => Promise.resolve(),
      hear() {},
      reload: () => Promise.resolve(),
      close: () => new Promise((resolve) => server.close(() => resolve())),
    }
  }

  const observer: Job['observer'] = {
    onThread: (change) => events.emit('thread', change),
    onLines(lines) {
      for (const line of lines) accessLog?.writeLine(line)
    },
    onEvent(_thread, event, args) {
      const values = args.map((arg) => fromPlain(arg as Parameters<typeof fromPlain>[0], findBackend))
      emitAny(events, event, values)
      // It was for once.
      if (!events.has(event as keyof ProxyEvents)) tellHeard()
    },
    onFailed: (error) => events.emit('error', new ProxyError('ERR_PROXY_THREADS', error.message), null),
  }

  function findBackend(id: string): Backend | null {
    for (const group of groups.values()) for (const backend of group.backends) if (backend.id === id) return backend
    return null
  }

  function heard(): string[] {
    return FORWARDED.filter((event) => events.has(event))
  }

  /** The events that somebody hears may have changed. */
  function tellHeard(): void {
    for (const one of running) one.hear(heard())
  }

  /** Where the overrides send it. A mistake in them ends the one exchange, not the application. */
  function routed({
    target,
    group: name,
    timeouts,
  }: CallOverrides): Pick<WebCall, 'destination' | 'timeouts' | 'fault'> {
    if (target !== undefined) {
      try {
        return { destination: targetDestination(String(target)), timeouts }
      } catch (error) {
        return { fault: `the override target: ${describeError(error)}` }
      }
    }
    if (name === undefined) return { timeouts }
    const group = groups.get(name)
    if (group !== undefined) return { destination: { group, route: everything(name, groupTimeouts(name)) }, timeouts }
    const names = Array.from(groups.keys(), (known) => JSON.stringify(known)).join(', ')
    return { fault: `the override group ${JSON.stringify(name)} does not exist; the groups are ${names}` }
  }

  /** A group of one, made on first use; the least recently made goes when there are too many. */
  function targetDestination(url: string): Destination {
    let found = targets.get(url)
    if (found === undefined) {
      const template = resolved.groups.values().next().value as ResolvedGroup
      const group = buildGroup(
        { ...template, name: url, backends: [{ url }], balancer: ONLY, healthCheck: null },
        privateMemory,
      )
      found = { group, route: everything(url, template.timeouts) }
      targets.set(url, found)
      if (targets.size > MAX_TARGET_GROUPS) {
        const [oldest, destination] = targets.entries().next().value as [string, Destination]
        targets.delete(oldest)
        drainPool(destination.group, destination.group.backends[0] as Backend)
      }
    }
    return found
  }

  function groupTimeouts(name: string): ResolvedGroup['timeouts'] {
    return resolved.groups.get(name)?.timeouts ?? resolved.timeouts
  }

  const web: Proxy['web'] = (req, res, overrides) => {
    // A framework may call it with its own third argument.
    const isOurs = typeof overrides === 'object' && overrides !== null
    const call = isOurs ? { ...routed(overrides), body: overrides.body, onError: overrides.onError } : null
    serveWeb(parts, peerOf(req.socket), req, res, call)
  }

  const upgrade = (
    req: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    overrides: CallOverrides | undefined,
    ordinary: OrdinaryHandler,
  ): void => {
    upgrades ??= createUpgrades(parts)
    const call = typeof overrides === 'object' && overrides !== null ? routed(overrides) : null
    upgrades.serve(peerOf(req.socket), req, socket, head, call, ordinary)
  }
  const ws: Proxy['ws'] = (req, socket, head, overrides) =>
    upgrade(req, socket, head, overrides, (request, response) => web(request, response, overrides))

  function matches(req: IncomingMessage): Destination | null {
    const method = req.method ?? 'GET'
    const target = parseTarget(method, req.url ?? '/')
    // What cannot be read is ours to refuse.
    if (target === null) return parts.find(method, '', '/')
    const path = router.looksAtPaths ? withoutDotSegments(target.path) : target.path
    return parts.find(method, target.host ?? req.headers.host ?? '', path)
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
      if (state.isClosing) throw new ProxyError('ERR_PROXY_CLOSED', 'the proxy is closed and cannot listen again')
      const listenOptions = typeof where === 'number' ? { port: where } : where
      const starting = resolved.executor.start({
        ...job,
        listen: listenOptions,
        serve: serveHere,
        graceMs: resolved.closeGraceMs,
        logger,
        observer,
      })
      pending.add(starting)
      const started = await starting.finally(() => pending.delete(starting))
      if (state.isClosing) throw new ProxyError('ERR_PROXY_CLOSED', 'the proxy was closed before it listened')
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
    stats() {
      const threads = Array.from(running, (one) => one.threads()).flat()
      const past = Array.from(running).reduce((sum, one) => sum + one.pastExchanges, 0)
      return {
        exchanges: threads.reduce((sum, thread) => sum + thread.exchanges, state.exchanges + past),
        active: threads.reduce((sum, thread) => sum + thread.active, state.active),
        threads: threads.map(({ pools: _, ...thread }) => thread),
        groups: Array.from(groups.values(), (group) => ({
          name: group.name,
          backends: group.backends.map(({ id, url, weight, pending, isAvailable, isEjected }) => {
            return { id, url: url.href, weight, pending, isAvailable, isEjected }
          }),
          pool: addPools([group.pool.stats(), ...threads.flatMap((thread) => poolsOf(thread, group.name))]),
        })),
      }
    },
    async setBackends(backends, name = UNNAMED) {
      const group = groupNamed(name)
      const inits = resolveOptions({ backends: [...backends] }).groups.get(UNNAMED)?.backends ?? []
      const change = job === null ? null : threadOptions({ backends: [...inits] })
      replaceBackends(group, inits)
      await Promise.all(Array.from(running, (one) => one.change(name, { group: name, ...change })))
    },
    async drain(id, name = UNNAMED) {
      const group = groupNamed(name)
      const backend = backendNamed(group, id)
      backend.cells.isDraining = true
      group.changed()
      while (backend.isDraining && backend.pending > 0) {
        await new Promise<void>((resolve) => clock.schedule(DRAIN_LOOK_MS, resolve))
      }
    },
    undrain(id, name = UNNAMED) {
      const group = groupNamed(name)
      backendNamed(group, id).cells.isDraining = false
      group.changed()
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
    state.isClosing = true
    const closed = Array.from(running, (one) => one.close())
    // Where one cannot begin, whoever asked for it is told.
    for (const one of pending) closed.push(one.then((started) => started.close(), ignore))
    upgrades?.goAway()
    if (state.active > 0) {
      await new Promise<void>((resolve) => {
        const cancel = clock.schedule(resolved.closeGraceMs, resolve)
        state.onIdle = () => {
          cancel()
          resolve()
        }
      })
    }
    state.isClosed = true
    upgrades?.destroy()
    for (const server of servers) server.closeAllConnections()
    const all = [...groups.values(), ...Array.from(targets.values(), (target) => target.group)]
    for (const group of all) {
      group.close()
      group.pool.destroy()
    }
    await Promise.all([...closed, ...all.map((group) => group.pool.close())])
    deadlines.close()
    await accessLog?.close()
    events.emit('close')
  }

  if (context.thread > 0) {
    members.push({
      createServer: openServer,
      pools: () => Array.from(groups.values(), (group) => ({ group: group.name, pool: group.pool.stats() })),
      goAway() {
        state.isClosing = true
        upgrades?.goAway()
      },
      close: () => proxy.close(),
      hear: forwarder(events),
      change: ({ group, backends }) => replaceBackends(groupNamed(group), backends),
    })
  }
  return proxy
}

const ONLY: ResolvedGroup['balancer'] = { name: 'only', pick: ([only]) => only }

function everything(group: string, timeouts: ResolvedGroup['timeouts']): Destination['route'] {
  return { host: '', path: '/', exact: false, methods: [], group, transforms: [], timeouts }
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

/** Nothing that matters to connections or to balancing differs. */
function isSame(one: Backend, other: Backend): boolean {
  return (
    one.url.href === other.url.href &&
    one.weight === other.weight &&
    isDeepStrictEqual(one.endpoint.tls, other.endpoint.tls) &&
    isDeepStrictEqual(one.metadata, other.metadata)
  )
}

/** What a thread told of its pools, of one group. */
function poolsOf({ pools }: ThreadStats, group: string): PoolStats[] {
  const [told] = pools as readonly (readonly { readonly group: string; readonly pool: PoolStats }[])[]
  return (told ?? []).filter((one) => one.group === group).map((one) => one.pool)
}

function addPools(all: readonly PoolStats[]): PoolStats {
  const sums = new Map<string, BackendPoolStats>()
  for (const { backends } of all) {
    for (const one of backends) {
      const sum = sums.get(one.backend)
      sums.set(one.backend, sum === undefined ? one : addFigures(sum, one))
    }
  }
  return { backends: Array.from(sums.values()) }
}

function addFigures(one: BackendPoolStats, other: BackendPoolStats): BackendPoolStats {
  return {
    backend: one.backend,
    connections: one.connections + other.connections,
    idle: one.idle + other.idle,
    connecting: one.connecting + other.connecting,
    waiting: one.waiting + other.waiting,
    opened: one.opened + other.opened,
    reused: one.reused + other.reused,
  }
}

interface AccessLog {
  write(record: ExchangeRecord): void
  /** A line that a thread has made. */
  writeLine(line: string): void
  close(): Promise<void>
}

/** Standard output that nobody reads must neither stop the proxy nor keep it from closing. */
function openAccessLog(
  { accessLog, clock, closeGraceMs, logger }: ResolvedOptions,
  writeLine: ThreadContext['writeLine'],
): AccessLog | null {
  if (accessLog.format === 'off') return null
  const format = recordFormatter(accessLog.format)
  const write = accessLog.write ?? writeLine
  if (write !== null)
    return { write: (record) => write(format(record)), writeLine: write, close: () => Promise.resolve() }
  const writer = lineWriter(1, {
    onError: (error) => logger.warn({ err: error }, `access log lines were lost: ${describeError(error)}`),
  })
  return {
    write: (record) => writer.write(format(record)),
    writeLine: (line) => writer.write(line),
    async close() {
      await Promise.race([writer.flush(), new Promise<void>((resolve) => clock.schedule(closeGraceMs, resolve))])
      if (writer.dropped > 0) logger.warn({ dropped: writer.dropped }, `${writer.dropped} access log lines were lost`)
    },
  }
}
