import type { ListenOptions, ThreadPool } from '../contracts/executor.ts'
import type { SocketServer } from '../fronts/socket/server.ts'
import type { ForwardedEvent, PlainEvent } from './bridge.ts'
import { namespaceOf, type ThreadsChange } from './protocol.ts'

/** A proxy of this thread, as the thread sees it. */
export interface LocalProxy {
  /** See `ThreadContext`. */
  readonly namespace: string
  /** A server of its own that does not listen yet. */
  createServer(listen: ListenOptions): SocketServer
  pools(): ThreadPool[]
  /** From now on responses say that their connection ends; WebSockets are asked to close. */
  goAway(): void
  close(): Promise<void>
  /** Forwards these events to `notify`, and no others. */
  subscribe(events: readonly ForwardedEvent[], notify: (event: PlainEvent) => void): void
  /**
   * @param isNew other threads make it at the same time; else they did long ago.
   * @returns whether it concerns this proxy. Throws if it cannot make it.
   */
  change(change: ThreadsChange, isNew: boolean): boolean
}

/** The proxies made in a thread of an executor, in order. */
export const localProxies: LocalProxy[] = []

/** What the proxies of this thread send to the one that started it. */
export const parentChannel: { writeLine: (line: string) => void } = { writeLine() {} }

/**
 * Makes a change in each proxy that it concerns.
 * @param isNew other threads make it at the same time; else they did long ago.
 * @throws RangeError if it concerns none; else what the proxy throws that cannot make it.
 */
export function changeLocalProxies(change: ThreadsChange, isNew: boolean): void {
  const made = localProxies.filter((proxy) => isMeant(proxy, change)).map((proxy) => proxy.change(change, isNew))
  if (made.includes(true)) return
  const what = 'group' in change ? `has a group ${JSON.stringify(change.group)}` : 'listens by itself'
  throw new RangeError(`none of the ${localProxies.length} proxies of this thread ${what}`)
}

function isMeant({ namespace }: LocalProxy, change: ThreadsChange): boolean {
  const proxy = 'proxy' in change ? change.proxy : undefined
  return proxy === undefined || namespace === (typeof proxy === 'number' ? namespaceOf(proxy) : proxy)
}
