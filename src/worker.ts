/*
 * What every thread of workerThreads() runs: it serves with a proxy made from options, or with the server of an entry
 * module, and tells the thread that started it what happens here.
 */
import http from 'node:http'
import https from 'node:https'
import type net from 'node:net'
import type { Socket } from 'node:net'
import { inspect } from 'node:util'
import { type MessagePort, parentPort } from 'node:worker_threads'
import type { ListenAddress, ListenOptions } from './contracts/executor.ts'
import type { Logger } from './contracts/logger.ts'
import { listen } from './fronts/listen.ts'
import { watchConnections } from './fronts/node-internals.ts'
import { retireServer, stopAccepting, watchResponses } from './fronts/retire.ts'
import type { SocketServer } from './fronts/socket/server.ts'
import { describeError } from './model/errors.ts'
import { createProxy } from './proxy/create-proxy.ts'
import { SharedStateMemory } from './runtime/state-memory.ts'
import {
  members,
  outlet,
  type ThreadJob,
  type ThreadMember,
  type ThreadsChange,
  threadStart,
} from './threads/context.ts'
import {
  type FromThread,
  type Inheritance,
  type LogEntry,
  slotName,
  type ThreadStart,
  type ToThread,
} from './threads/protocol.ts'

/** What is told is collected for so long, ms: one message for a few hundred requests. */
const BATCH_MS = 20

const port = parentPort
if (port === null || threadStart === undefined) throw new Error('this module is run by workerThreads()')
const parent: NonNullable<typeof parentPort> = port
const start: ThreadStart = threadStart

let logs: LogEntry[] = []
let lines: string[] = []
let events: { event: string; args: readonly unknown[] }[] = []
let batchTimer: NodeJS.Timeout | null = null

function post(message: FromThread): void {
  parent.postMessage(message)
}

function later(): void {
  batchTimer ??= setTimeout(flush, BATCH_MS)
}

function flush(): void {
  if (batchTimer !== null) clearTimeout(batchTimer)
  batchTimer = null
  if (logs.length + lines.length + events.length === 0) return
  post({ type: 'batch', logs, lines, events })
  logs = []
  lines = []
  events = []
}

/** Diagnostics that go to the starter's logger. */
function remoteLogger(): Logger {
  const at =
    (level: LogEntry['level']) =>
    (fields: object, message: string): void => {
      logs.push({ level, fields: cloneable(fields), message })
      later()
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** What cannot be cloned goes as text: a log line must not be lost for it. */
function cloneable(fields: object): object {
  try {
    return structuredClone(fields)
  } catch {
    return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, inspect(value)]))
  }
}

outlet.writeLine = (line) => {
  lines.push(line)
  later()
}

function tell(event: string, args: readonly unknown[]): void {
  events.push({ event, args })
  later()
}

/** The server that this thread serves with. */
async function openServer(): Promise<http.Server | SocketServer> {
  if ('options' in start.job) {
    const { options, isLogging, accessLog } = start.job.options as ThreadJob
    createProxy({
      ...options,
      logger: isLogging ? remoteLogger() : 'silent',
      accessLog,
    })
    return (members[0] as ThreadMember).createServer({ ...(start.tls !== null && { tls: start.tls }) })
  }
  const module = (await import(start.job.entry)) as { default?: unknown }
  const given: unknown = typeof module.default === 'function' ? await module.default() : await module.default
  const isServer = given instanceof http.Server || given instanceof https.Server
  if (isServer && !given.listening) return given as http.Server
  const what = isServer ? 'listens already; leave listen() to the executor' : 'is none, nor a function that returns one'
  throw new TypeError(
    `${start.job.entry}: the default export of an entry module is a node:http server that does not listen yet, and this one ${what}`,
  )
}

const connections = new SharedStateMemory(start.memory, start.slot).counters(slotName(start.slot))

/** Client connections: how many have come (counted by whoever accepts them), and how many have gone. */
function count(server: http.Server | SocketServer): void {
  server.on('connection', (socket: Socket) => {
    if (start.listen !== null) connections[0] = (connections[0] ?? 0) + 1
    socket.once('close', () => {
      connections[1] = (connections[1] ?? 0) + 1
    })
  })
}

/** What accepts connections for the server: itself, and listening sockets of threads that are gone. */
const listeners: net.Server[] = []

function addListener(listener: net.Server): void {
  listeners.push(listener)
  connections[2] = listeners.length
}

/** Those that came from others first. */
function give(count: number, to: MessagePort): void {
  for (const listener of listeners.splice(-count)) to.postMessage(listener satisfies Inheritance, [listener as never])
  connections[2] = listeners.length
  to.close()
}

function inherit(server: http.Server | SocketServer, from: MessagePort): void {
  from.on('message', (listener: Inheritance) => {
    listener.maxConnections = server.maxConnections
    listener.on('connection', (socket) => server.emit('connection', socket))
    addListener(listener)
  })
  // The thread that it was to come from has died.
  from.once('close', () => {
    if (listeners.length === 0) void listenHere(server)
  })
}

async function listenHere(server: http.Server | SocketServer): Promise<ListenAddress> {
  const address = await listen(server, start.listen as ListenOptions, true)
  addListener(server)
  return address
}

function report(): void {
  post({ type: 'report', proxies: members.length, pools: members.map((member) => member.pools()) })
}

/** @param isNew other threads make it at the same time; else they did long ago. */
function make(asked: ThreadsChange, isNew: boolean): void {
  const concerned = 'proxy' in asked ? members.slice(asked.proxy, (asked.proxy ?? 0) + 1) : members
  const made = concerned.map((member) => member.change(asked, isNew))
  if (made.includes(true)) return
  const what = 'group' in asked ? `has a group ${JSON.stringify(asked.group)}` : 'listens by itself'
  throw new RangeError(`none of the ${members.length} proxies of this thread ${what}`)
}

function change(number: number, asked: ThreadsChange): void {
  let fault: string | null = null
  try {
    make(asked, true)
  } catch (error) {
    fault = describeError(error)
  }
  post({ type: 'changed', number, fault })
}

async function retire(
  server: http.Server | SocketServer,
  answers: ReadonlyMap<unknown, http.ServerResponse>,
): Promise<void> {
  // First of all, or clients whose connection ends would come back to this thread.
  await stopAccepting(server, listeners)
  for (const member of members) member.goAway()
  await retireServer(
    server,
    start.drainTimeoutMs,
    () => (connections[0] ?? 0) - (connections[1] ?? 0),
    answers.values(),
  )
  await Promise.all(members.map((member) => member.close()))
  report()
  flush()
  post({ type: 'retired' })
}

async function serve(): Promise<void> {
  const server = await openServer()
  count(server)
  const answers = watchResponses(server)
  for (const asked of start.changes) make(asked as ThreadsChange, false)
  for (const member of members) member.hear(start.heard, tell)
  const address = start.listen === null || start.inherits ? null : await listenHere(server)
  if (address === null) watchConnections(server)
  parent.on('message', (message: ToThread) => {
    switch (message.type) {
      case 'socket':
        server.emit('connection', message.socket)
        message.socket.resume()
        break
      case 'change':
        change(message.number, message.change as ThreadsChange)
        break
      case 'hear':
        for (const member of members) member.hear(message.events, tell)
        break
      case 'give':
        give(message.count, message.to)
        break
      case 'inherit':
        inherit(server, message.from)
        break
      case 'retire':
        void retire(server, answers)
    }
  })
  setInterval(report, start.reportMs).unref()
  post({ type: 'serving', address, proxies: members.length })
}

// Also where it ends by itself: by an error that nobody caught, or `process.exit()`.
process.once('exit', flush)
try {
  await serve()
} catch (error) {
  const { message, code, stack } = (error instanceof Error ? error : new Error(String(error))) as NodeJS.ErrnoException
  post({ type: 'failed', message, code, stack })
  parent.close()
  process.exit(1)
}
