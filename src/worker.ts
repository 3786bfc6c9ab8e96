/*
 * The module that every thread of workerThreads() and serveModule() runs. It serves with a proxy created from options, or
 * with the server of a module, and reports to the main thread.
 */
import http from 'node:http'
import https from 'node:https'
import { parentPort } from 'node:worker_threads'
import type { ProxyOptions } from './config/options.ts'
import { watchConnections } from './fronts/node-internals.ts'
import { retireServer, stopAccepting, watchResponses } from './fronts/retire.ts'
import type { SocketServer } from './fronts/socket/server.ts'
import { createProxy } from './proxy/create-proxy.ts'
import { describeError } from './runtime/describe-error.ts'
import { SharedStateMemory } from './runtime/state-memory.ts'
import { ThreadConnections } from './threads/connections.ts'
import { threadStart } from './threads/context.ts'
import { changeLocalProxies, type LocalProxy, localProxies, parentChannel } from './threads/local-proxies.ts'
import { Outbox } from './threads/outbox.ts'
import { type FromThread, slotName, type ThreadStart, type ThreadsChange, type ToThread } from './threads/protocol.ts'

/** Node's exit code of a module whose top-level await never settles. */
const UNSETTLED = 13

const port = parentPort
if (port === null || threadStart === undefined)
  throw new Error('only workerThreads() and serveModule() can run this module')
const parent: NonNullable<typeof parentPort> = port
const start: ThreadStart = threadStart
const outbox = new Outbox(post)
parentChannel.writeLine = outbox.writeLine

function post(message: FromThread): void {
  parent.postMessage(message)
}

/** The server that this thread serves with. */
async function openServer(): Promise<http.Server | SocketServer> {
  const { job, server: serving } = start
  if ('options' in job) {
    createProxy({ ...(job.options as ProxyOptions), logger: outbox.loggerOf(job.logs) })
    return (localProxies[0] as LocalProxy).createServer(serving)
  }
  const exported = defaultOf((await import(job.entry)) as Exports)
  const server: unknown = typeof exported === 'function' ? await exported() : await exported
  const isServer = server instanceof http.Server || server instanceof https.Server
  if (isServer && !server.listening) return server as http.Server
  const what = isServer
    ? 'is a server that already listens; do not call listen() in the module'
    : 'must be a node:http server that does not listen yet, or a function that returns one'
  throw new TypeError(`${job.entry}: the default export of a module for serveModule() ${what}`)
}

interface Exports {
  readonly default?: unknown
}

/** The default export. A module that a compiler or a bundler has made CommonJS has it in what node takes for the default export. */
function defaultOf({ default: exported }: Exports): unknown {
  const isCompiled = typeof exported === 'object' && exported !== null && '__esModule' in exported
  return isCompiled ? (exported as Exports).default : exported
}

function namespaces(): string[] {
  return localProxies.map(({ namespace }) => namespace)
}

function report(): void {
  post({ type: 'report', proxies: namespaces(), pools: localProxies.flatMap((proxy) => proxy.pools()) })
}

function applyChange(number: number, change: ThreadsChange): void {
  let fault: string | null = null
  try {
    changeLocalProxies(change, true)
  } catch (error) {
    fault = describeError(error)
  }
  post({ type: 'changed', number, fault })
}

async function retire(
  server: http.Server | SocketServer,
  connections: ThreadConnections,
  responses: ReadonlyMap<unknown, http.ServerResponse>,
): Promise<void> {
  // Must come first: clients whose connections end would otherwise reconnect to this thread.
  await stopAccepting(server, connections.listeners)
  for (const proxy of localProxies) proxy.goAway()
  await retireServer(server, start.drainTimeoutMs, connections.open, responses.values())
  await Promise.all(localProxies.map((proxy) => proxy.close()))
  report()
  outbox.flush()
  post({ type: 'retired' })
}

async function serve(): Promise<void> {
  const server = await openServer()
  const counters = new SharedStateMemory(start.memory, start.slot).counters(slotName(start.slot))
  const connections = new ThreadConnections(server, start.listen, counters)
  const responses = watchResponses(server)
  for (const change of start.changes) changeLocalProxies(change, false)
  for (const proxy of localProxies) proxy.subscribe(start.subscriptions, outbox.addEvent)
  const address = start.listen === null || start.adopts ? null : await connections.listen()
  if (address === null) watchConnections(server)
  parent.on('message', (message: ToThread) => {
    switch (message.type) {
      case 'socket':
        server.emit('connection', message.socket)
        message.socket.resume()
        break
      case 'change':
        applyChange(message.number, message.change)
        break
      case 'subscribe':
        for (const proxy of localProxies) proxy.subscribe(message.events, outbox.addEvent)
        break
      case 'handOverListeners':
        connections.handOver(message.count, message.to)
        break
      case 'adoptListeners':
        connections.adopt(message.from)
        break
      case 'retire':
        void retire(server, connections, responses)
    }
  })
  setInterval(report, start.reportMs).unref()
  post({ type: 'serving', address, proxies: namespaces() })
}

// Flushes even if the thread ends by an uncaught error or `process.exit()`.
process.once('exit', outbox.flush)
// No top-level await: a bundle in CommonJS could not have it. With one, node itself would set this exit code.
process.once('beforeExit', setUnsettled)
serve().then(() => process.off('beforeExit', setUnsettled), onFailed)

function setUnsettled(): void {
  process.exitCode = UNSETTLED
}

function onFailed(error: unknown): void {
  const { message, code, stack } = (error instanceof Error ? error : new Error(String(error))) as NodeJS.ErrnoException
  post({ type: 'failed', message, code, stack })
  parent.close()
  process.exit(1)
}
