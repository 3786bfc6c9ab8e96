import type { Executor, Job } from '../contracts/executor.ts'
import { ProxyError } from '../model/errors.ts'
import type { ThreadedJob } from '../threads/protocol.ts'
import { threadSettings, type WorkerThreadsOptions } from '../threads/settings.ts'
import { startThreads } from '../threads/supervisor.ts'

/**
 * Serves with several threads, each of which owns the whole way from the client's connection to the backend's; see
 * docs/threads.md. For `createProxy({ executor })`.
 * @throws TypeError for invalid options.
 */
export function workerThreads(options: WorkerThreadsOptions = {}): Executor {
  const settings = threadSettings(options, 'workerThreads')
  const memories = new WeakSet<SharedArrayBuffer>()
  return {
    name: 'worker-threads',
    // One more: the one that replaces another lives beside it.
    maxThreads: settings.max + 1,
    async start(job) {
      if (!isThreaded(job)) {
        throw new TypeError(
          'workerThreads: nothing to serve; give it to createProxy({ executor }), or run a module of yours with serveModule()',
        )
      }
      const { memory, listen, options, isLogging, namespace, changes, logger, observer } = job
      if (memories.has(memory)) {
        const message = 'the threads of a proxy listen in one place; make another proxy for another one'
        throw new ProxyError('ERR_PROXY_THREADS', message)
      }
      memories.add(memory)
      try {
        const work = { options, isLogging }
        const drainTimeoutMs = settings.drainTimeoutMs ?? job.drainTimeoutMs
        return await startThreads(
          { listen, work, namespace, memory, drainTimeoutMs, changes, logger, observer },
          settings,
        )
      } catch (error) {
        memories.delete(memory)
        throw error
      }
    },
  }
}

/** Made by a proxy that knows of threads. */
function isThreaded(job: Job | undefined): job is ThreadedJob {
  return job !== undefined && 'memory' in job
}
