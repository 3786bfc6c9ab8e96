import type { Executor, Job } from '../contracts/executor.ts'
import { ProxyError } from '../model/errors.ts'
import type { ThreadedJob } from '../threads/protocol.ts'
import { threadSettings, type WorkerThreadsOptions } from '../threads/settings.ts'
import { startThreads } from '../threads/supervisor.ts'

/**
 * Serves with several threads, for `createProxy({ executor })`; see docs/threads.md. A connection to a client and the
 * connections to its backends belong to one thread.
 * @throws TypeError for invalid options.
 */
export function workerThreads(options: WorkerThreadsOptions = {}): Executor {
  const settings = threadSettings(options, 'workerThreads')
  const memories = new WeakSet<SharedArrayBuffer>()
  return {
    name: 'worker-threads',
    // One more than `max`: a replacement runs beside the thread that it replaces.
    maxThreads: settings.max + 1,
    async start(job) {
      if (!isThreaded(job)) {
        throw new TypeError(
          'workerThreads: nothing to serve; pass it to createProxy({ executor }), or run your own module with serveModule()',
        )
      }
      const { memory, listen, options, logs, namespace, changes, logger, observer } = job
      if (memories.has(memory)) {
        const message = 'the threads of a proxy listen on one address; create another proxy for another address'
        throw new ProxyError('ERR_PROXY_THREADS', message)
      }
      memories.add(memory)
      try {
        const work = { options, logs }
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

/** Whether the job comes from a proxy that supports threads. */
function isThreaded(job: Job | undefined): job is ThreadedJob {
  return job !== undefined && 'memory' in job
}
