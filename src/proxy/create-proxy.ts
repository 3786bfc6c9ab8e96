import type { ProxyOptions, ResolvedOptions } from '../config/options.ts'
import { OptionsError } from '../config/options-error.ts'
import { resolveOptions } from '../config/resolve.ts'
import { threadOptions } from '../config/thread-options.ts'
import { privateStateMemory, SharedStateMemory } from '../runtime/state-memory.ts'
import { nextContext, type ThreadContext } from '../threads/context.ts'
import { localProxies } from '../threads/local-proxies.ts'
import { namespaceOf, type ThreadedWork } from '../threads/protocol.ts'
import { makeProxy } from './proxy.ts'
import type { Proxy } from './types.ts'

/**
 * Makes a proxy.
 * @throws {@link OptionsError} that names every fault of the options.
 */
export function createProxy(options: ProxyOptions): Proxy {
  const resolved = resolveOptions(options)
  const work = threadedWork(options, resolved)
  if (work !== null) return makeProxy(resolved, mainContext(work), work)
  assertOwnName(resolved.name)
  return makeProxy(resolved, nextContext(resolved.name), null)
}

/** What threads of the executor need to serve the same proxy; `null`: it has none. */
function threadedWork(
  options: ProxyOptions,
  { executor, accessLog, groups, name }: ResolvedOptions,
): ThreadedWork | null {
  if (!(executor.maxThreads > 0)) return null
  const names = Array.from(groups.values()).reduce((sum, { backends }) => sum + backends.length + 1, 0)
  return {
    options: { ...threadOptions(options), accessLog: accessLog.format },
    isLogging: (options.logger ?? 'silent') !== 'silent',
    // In each thread it is the first one, and the only one.
    namespace: name === '' ? namespaceOf(0) : name,
    // The calling thread is one of those that share it.
    memory: SharedStateMemory.allocate(executor.maxThreads + 1, names),
  }
}

/** Of the thread in which the proxy is made that others serve. */
function mainContext({ namespace, memory }: ThreadedWork): ThreadContext {
  return {
    namespace,
    memory: new SharedStateMemory(memory, 0),
    counters: privateStateMemory.counters(''),
    thread: 0,
    clearsState: true,
    writeLine: null,
  }
}

/** In a thread of ours the name is what a proxy shares its numbers by. */
function assertOwnName(name: string): void {
  if (!localProxies.some(({ namespace }) => namespace === name)) return
  const message = 'is the name of another proxy of this thread'
  throw new OptionsError([
    {
      path: 'name',
      message,
      value: name,
      allowed: 'a name of its own for each proxy of a module',
      example: `${name}-2`,
    },
  ])
}
