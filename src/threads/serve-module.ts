import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { ListenAddress, ListenOptions, ThreadStats } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { listenOptions } from '../fronts/listen.ts'
import type { BackendInit } from '../model/backend.ts'
import { namespaceOf, type ThreadObserver } from './protocol.ts'
import { threadSettings, type WorkerThreadsOptions } from './settings.ts'
import { startThreads } from './supervisor.ts'

/** Options of {@link serveModule}. */
export interface ServeModuleOptions extends WorkerThreadsOptions {
  /** Where the threads listen: a port, or more. */
  listen: number | Omit<ListenOptions, 'fallback' | 'path'>
  /** Diagnostics of the threads as such; those of its proxies are the module's. Default: none. */
  logger?: Logger
  /** Notified of what happens to the threads. What it throws is logged. */
  observer?: ThreadObserver
}

/** Threads that run a module. */
export interface RunningThreads extends AsyncDisposable {
  readonly address: ListenAddress
  /** Figures of each thread that is alive. */
  threads(): readonly ThreadStats[]
  /**
   * As {@link import('../proxy/types.ts').Proxy.setBackends}, in every thread, and in those that begin later. Rejects, and changes
   * nothing for later threads, if a thread cannot do it: no proxy of the module has such a group, or the backends are invalid.
   * @param group Default: the unnamed one.
   * @param proxy only of the proxy with this `name`, or of the nth one without a name, from 0. Default: of all that have such a group.
   */
  setBackends(backends: readonly (string | BackendInit)[], group?: string, proxy?: string | number): Promise<void>
  /** Replaces every thread by a new one, which runs the module as it is by then, one at a time, without refusing or truncating a request. */
  reload(): Promise<void>
  /** Ends gracefully. */
  close(): Promise<void>
}

/** How long a thread that retires may finish what it has, ms, by default: as with `createProxy()`. */
const DRAIN_TIMEOUT_MS = 10_000

/**
 * Serves with several threads that each run a module of yours; see docs/threads.md. For code that cannot be sent to a thread:
 * an application, hooks, policies of your own. For a proxy made from plain options there is `createProxy({ executor: workerThreads() })`.
 * @param url of the module, or its path from the current folder. Its default export is a node:http server that does not listen
 * yet, or a function that returns one (or a promise of one).
 * @throws TypeError for invalid options. Rejects if a thread cannot serve.
 */
export async function serveModule(url: string | URL, options: ServeModuleOptions): Promise<RunningThreads> {
  const { listen, logger, observer } = (options as ServeModuleOptions | undefined) ?? {}
  if (listen === undefined) throw new TypeError('serveModule: where to listen? serveModule(url, { listen: 8080 })')
  const settings = threadSettings(options, 'serveModule', ['listen', 'logger', 'observer'])
  const threads = await startThreads(
    {
      listen: listenOptions(listen),
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

/** Of a path, or as it is. A drive's letter is no scheme. */
function moduleUrl(url: string | URL): string {
  const isPath = typeof url === 'string' && (isAbsolute(url) || !URL.canParse(url))
  return isPath ? pathToFileURL(url).href : String(url)
}
