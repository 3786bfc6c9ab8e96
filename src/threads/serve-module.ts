import type { CheckedListenOptions, ListenAddress, ListenOptions, ThreadStats } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { listenOptions } from '../fronts/listen-options.ts'
import type { BackendInit } from '../model/backend.ts'
import { namespaceOf, type ThreadObserver } from './protocol.ts'
import { threadSettings, type WorkerThreadsOptions } from './settings.ts'
import { startThreads } from './supervisor.ts'
import { moduleUrl } from './worker-module.ts'

/** Options of {@link serveModule}. */
export interface ServeModuleOptions extends Omit<WorkerThreadsOptions, 'listeners'> {
  /** Where the threads listen: a port, its digits, or options. TLS is the module's: it exports a node:https server. */
  listen: number | string | Pick<ListenOptions, 'port' | 'host' | 'backlog'>
  /** Diagnostics about the threads. The module sets up the loggers of its proxies. Default: none. */
  logger?: Logger | undefined
  /** Observes the threads. An error that it throws is logged. */
  observer?: ThreadObserver | undefined
}

/** Threads that run a module. */
export interface RunningThreads extends AsyncDisposable {
  readonly address: ListenAddress
  /** Statistics of each thread that is alive. */
  threads(): readonly ThreadStats[]
  /**
   * Like `proxy.setBackends()`, in every thread, and in threads that start later. Rejects if a
   * thread fails: no proxy of the module has such a group, or the backends are invalid. Later threads are then not changed.
   * @param group Default: the unnamed one.
   * @param proxy name of the proxy, or the index among those without a name. Default: all proxies that have such a group.
   */
  setBackends(backends: readonly (string | BackendInit)[], group?: string, proxy?: string | number): Promise<void>
  /** Replaces every thread, one at a time, without refusing or truncating a request. New threads load the module again. */
  reload(): Promise<void>
  /** Shuts down gracefully. */
  close(): Promise<void>
}

/** Default time for a retiring thread to finish its exchanges, ms: as with `createProxy()`. */
const DRAIN_TIMEOUT_MS = 10_000

/**
 * Serves with several threads, each of which runs your module; see docs/threads.md. Use it for code that cannot be sent to a
 * thread: an application, hooks, your own policies. For a proxy with plain options, use
 * `createProxy({ executor: workerThreads() })`.
 * @param url of the module, or its path relative to the current folder. Its default export is a node:http server that does
 * not listen yet, or a function that returns one (or a promise of one).
 * @throws TypeError for invalid options. Rejects if a thread cannot serve.
 */
export async function serveModule(url: string | URL, options: ServeModuleOptions): Promise<RunningThreads> {
  const { listen, logger, observer } = (options as ServeModuleOptions | undefined) ?? {}
  if (listen === undefined)
    throw new TypeError('serveModule: listen is missing; use serveModule(url, { listen: 8080 })')
  const settings = threadSettings(options, 'serveModule', ['listen', 'logger', 'observer'])
  const threads = await startThreads(
    {
      listen: listenOptions(listen, ['port', 'host', 'backlog']) as CheckedListenOptions,
      work: { entry: moduleUrl(url) },
      namespace: namespaceOf(0),
      drainTimeoutMs: settings.drainTimeoutMs ?? DRAIN_TIMEOUT_MS,
      logger,
      observer,
    },
    settings,
  )
  return {
    address: threads.address,
    threads: () => threads.threads(),
    setBackends: (backends, group = 'default', proxy) => threads.change({ group, backends, proxy }),
    reload: () => threads.reload(),
    close: () => threads.close(),
    [Symbol.asyncDispose]: () => threads.close(),
  }
}
