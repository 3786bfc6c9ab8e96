import { readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import type { Worker } from 'node:worker_threads'
import { type Proxy, type ServeModuleOptions, serveModule, type ThreadChange } from '../../src/index.ts'
import { canHandOverListeners, chooseSpread, type Spread } from '../../src/threads/spread.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { queue } from '../support/running-proxy.ts'

/** `skip` option of tests that need connections to come to threads in some way, or in this one; by the runtime's own probe. */
export async function without(spread?: Spread): Promise<string | false> {
  return chooseSpread(spread).then(
    () => false,
    (error: Error) => error.message,
  )
}

/** `skip` option of tests in which threads leave their listening sockets to others. */
export async function withoutHandOver(): Promise<string | false> {
  if (await canHandOverListeners()) return without('kernel')
  return 'a thread cannot hand its listening socket over here: node 26 can'
}

/** The sockets that listen on a port. */
export function listeningSockets(port: number): string[] {
  return socketsAt(port, '0A')
}

/** The connections to a port that are open, also where nobody has accepted them yet. */
export function openSockets(port: number): string[] {
  return socketsAt(port, '01')
}

/** As the kernel knows them (proc(5), /proc/net/tcp). */
function socketsAt(port: number, wanted: string): string[] {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const rows = readFileSync('/proc/self/net/tcp', 'utf8').split('\n').slice(1)
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, address, , state]) => address?.endsWith(local) === true && state === wanted)
    .map((row) => `${row[2]} ${row[9]}`)
    .sort()
}

export const LOOPBACK = { port: 0, host: '127.0.0.1' } as const

/** Where an entry module of the tests is, with what it can read in the query of its own URL. */
export function entryOf(name: string, parameters: readonly (readonly [name: string, value: string])[] = []): URL {
  const url = new URL(`./entries/${name}.js`, import.meta.url)
  for (const [key, value] of parameters) url.searchParams.append(key, value)
  return url
}

/** What happens to threads, one thing after another. */
export interface ThreadLog {
  /** All so far. */
  readonly changes: readonly ThreadChange[]
  onThread(change: ThreadChange): void
  /** The next one of this kind that no earlier call has returned; waits for it. */
  next(what: ThreadChange['what']): Promise<ThreadChange>
}

export function threadLog(): ThreadLog {
  const changes: ThreadChange[] = []
  const queues = { started: queue, retiring: queue, ended: queue, died: queue }
  const byKind = new Map(Object.entries(queues).map(([what, make]) => [what, make<ThreadChange>()]))
  return {
    changes,
    onThread(change) {
      changes.push(change)
      byKind.get(change.what)?.push(change)
    },
    next: (what) => byKind.get(what)?.next() as Promise<ThreadChange>,
  }
}

/** The threads of this process, in the order in which they begin. None outlives the test. */
export function watchWorkers(t: TestContext): readonly Worker[] {
  const workers: Worker[] = []
  const onWorker = (worker: Worker): void => void workers.push(worker)
  process.on('worker', onWorker)
  t.after(async () => {
    process.off('worker', onWorker)
    await Promise.all(workers.map((worker) => worker.terminate()))
  })
  return workers
}

/** Threads that are closed with the test, also where it waits for them in vain. */
export async function startThreads(
  t: TestContext,
  entry: URL,
  { observer, ...options }: Omit<ServeModuleOptions, 'listen'>,
) {
  const log = threadLog()
  // Before they are terminated, or they would be replaced.
  t.after(() => void started.then((running) => running.close()).catch(() => {}))
  const workers = watchWorkers(t)
  const started = serveModule(entry, {
    listen: LOOPBACK,
    observer: { onThread: log.onThread, ...observer },
    ...options,
  })
  return { running: await started, log, workers }
}

/** Those of which the ones with a number up to `limit` can start. */
export function limited(
  t: TestContext,
  limit: number,
  options: Omit<ServeModuleOptions, 'listen'>,
): ReturnType<typeof startThreads> {
  return startThreads(t, entryOf('limited', [['limit', String(limit)]]), options)
}

/** Rejects when the test's time is over, so that what it uses is closed and its file can end. */
export function inTime<Value>(t: TestContext, promise: Promise<Value>): Promise<Value> {
  const over = new Promise<never>((_, reject) => {
    t.signal.addEventListener('abort', () => reject(t.signal.reason))
  })
  return Promise.race([promise, over])
}

/** Lets I/O pass until `holds`; not for longer than the test may take. */
export async function until(t: TestContext, holds: () => boolean): Promise<void> {
  while (!holds()) {
    t.signal.throwIfAborted()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** A new connection for one request. */
export async function get(url: string): Promise<{ status: number; text: string }> {
  const response = await fetch(url, { headers: { connection: 'close' } })
  return { status: response.status, text: await response.text() }
}

/** The body of the answer to a GET over a connection that stays open. */
export async function ask(client: RawClient, path = '/'): Promise<string> {
  const from = client.text.length
  client.write(`GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`)
  for (;;) {
    const text = client.text.slice(from)
    const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1]
    const body = text.slice(text.indexOf('\r\n\r\n') + 4)
    if (length !== undefined && body.length >= Number(length)) return body
    await Promise.race([new Promise((resolve) => client.socket.once('data', resolve)), client.ended])
    if (client.socket.destroyed) throw new Error(`the connection ended: ${client.text.slice(from)}`)
  }
}

/** A kept connection to each of `count` threads, by the thread's number. The proxy must answer. */
export async function clientsOfThreads(proxy: Proxy, port: number, count: number): Promise<Map<number, RawClient>> {
  const records = queue<number>()
  const onFinish = (_: unknown, record: { thread: number }): void => records.push(record.thread)
  proxy.on('finish', onFinish)
  const clients = await oneOfEach(port, count, async (client) => {
    await ask(client)
    return records.next()
  })
  proxy.off('finish', onFinish)
  return clients
}

/** The same for entry modules that tell their number at `/who`. */
export function clientsOfEntries(port: number, count: number): Promise<Map<number, RawClient>> {
  return oneOfEach(port, count, async (client) => Number(await ask(client, '/who')))
}

async function oneOfEach(
  port: number,
  count: number,
  threadOf: (client: RawClient) => Promise<number>,
): Promise<Map<number, RawClient>> {
  const clients = new Map<number, RawClient>()
  while (clients.size < count) {
    const client = rawClient(port)
    const thread = await threadOf(client)
    if (clients.has(thread)) client.socket.destroy()
    else clients.set(thread, client)
  }
  return clients
}
