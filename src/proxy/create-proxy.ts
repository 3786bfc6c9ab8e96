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
 * Creates a proxy.
 * @throws {@link OptionsError} that lists every mistake in the options.
 */
export function createProxy(options: ProxyOptions = {}): Proxy {
  const resolved = resolveOptions(options)
  const work = threadedWork(options, resolved)
  if (work !== null) return makeProxy(resolved, mainContext(work), work)
  assertOwnName(resolved.name)
  return makeProxy(resolved, nextContext(resolved.name), null)
}

/** Data that the executor's threads need to serve the same proxy; `null` if it has no threads. */
function threadedWork(
  options: ProxyOptions,
  { executor, accessLog, groups, name }: ResolvedOptions,
): ThreadedWork | null {
  if (!(executor.maxThreads > 0)) return null
  const names = Array.from(groups.values()).reduce((sum, { backends }) => sum + backends.length + 1, 0)
  return {
    options: { ...threadOptions(options), accessLog: accessLog.format },
    logs: logsOf(options.logger),
    // Each thread has only this proxy, and so derives the same namespace.
    namespace: name === '' ? namespaceOf(0) : name,
    // One more, because the calling thread shares it too.
    memory: SharedStateMemory.allocate(executor.maxThreads + 1, names),
  }
}

/** The lines that threads send to the logger. */
function logsOf(logger: ProxyOptions['logger'] = 'warnings'): ThreadedWork['logs'] {
  if (logger === 'silent') return 'none'
  return logger === 'warnings' ? 'warnings' : 'all'
}

/** The context of the thread that creates the proxy, if other threads serve it. */
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

/** In an executor's thread, proxies share their numbers by name, so the name must be unique. @throws {@link OptionsError} if not. */
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
