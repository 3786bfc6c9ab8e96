import type { CheckedListenOptions, ThreadPool } from '../contracts/executor.ts'
import type { SocketServer } from '../fronts/socket/server.ts'
import type { ForwardedEvent, PlainEvent } from './bridge.ts'
import { namespaceOf, type ThreadsChange } from './protocol.ts'

/** A proxy of this thread. */
export interface LocalProxy {
  /** See `ThreadContext`. */
  readonly namespace: string
  /** Creates a server that does not listen yet. */
  createServer(listen: CheckedListenOptions): SocketServer
  pools(): ThreadPool[]
  /** From now on each response announces the end of its connection, and WebSockets are asked to close. */
  goAway(): void
  close(): Promise<void>
  /** Forwards these events to `notify`, and no others. */
  subscribe(events: readonly ForwardedEvent[], notify: (event: PlainEvent) => void): void
  /**
   * Applies a change. Throws if it fails.
   * @param isNew `true` if all threads apply it now; `false` if the others applied it before this thread started.
   * @returns whether the change concerns this proxy.
   */
  change(change: ThreadsChange, isNew: boolean): boolean
}

const PROXIES = Symbol.for('heddle.thread-proxies')

/** What all copies of this package in a thread have in common: bundles of `heddle/worker` and of a module may have one each. */
interface ThreadProxies {
  /** The proxies that were created in this thread of an executor, in order. */
  readonly localProxies: LocalProxy[]
  /** The number of those without a name. */
  unnamed: number
  /** The way from the proxies of this thread to the main thread. */
  readonly parentChannel: { writeLine: (line: string) => void }
}

const shared = globalThis as { [PROXIES]?: ThreadProxies }
shared[PROXIES] ??= { localProxies: [], unnamed: 0, parentChannel: { writeLine() {} } }

export const threadProxies: ThreadProxies = shared[PROXIES]
export const { localProxies, parentChannel } = threadProxies

/**
 * Applies a change to each proxy that it concerns.
 * @param isNew see {@link LocalProxy.change}.
 * @throws RangeError if it concerns no proxy; otherwise the error of a proxy that cannot apply it.
 */
export function changeLocalProxies(change: ThreadsChange, isNew: boolean): void {
  const isConcerned = localProxies
    .filter((proxy) => isAddressee(proxy, change))
    .map((proxy) => proxy.change(change, isNew))
  if (isConcerned.includes(true)) return
  const what = 'group' in change ? `has a group ${JSON.stringify(change.group)}` : 'listens'
  throw new RangeError(`none of the ${localProxies.length} proxies of this thread ${what}`)
}

function isAddressee({ namespace }: LocalProxy, change: ThreadsChange): boolean {
  const proxy = 'proxy' in change ? change.proxy : undefined
  return proxy === undefined || namespace === (typeof proxy === 'number' ? namespaceOf(proxy) : proxy)
}
