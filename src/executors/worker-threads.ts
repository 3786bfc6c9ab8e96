import type { Executor, Job } from '../contracts/executor.ts'
import { ProxyError } from '../model/errors.ts'
import type { ThreadedJob } from '../threads/protocol.ts'
import { threadSettings, type WorkerThreadsOptions } from '../threads/settings.ts'
import { startThreads } from '../threads/supervisor.ts'

/** The jobs of one proxy. */
interface Jobs {
  /** Blocks of slots in the shared memory that no job has. */
  readonly free: number[]
  readonly numbers: { last: number }
}

/**
 * Serves with several threads, for `createProxy({ executor })`; see docs/threads.md. A connection to a client and the
 * connections to its backends belong to one thread.
 * @throws TypeError for invalid options.
 */
export function workerThreads(options: WorkerThreadsOptions = {}): Executor {
  const settings = threadSettings(options, 'workerThreads', ['listeners'])
  const { listeners } = settings
  // One more than `max`: a replacement runs beside the thread that it replaces.
  const slots = settings.max + 1
  const jobsOf = new WeakMap<SharedArrayBuffer, Jobs>()
  return {
    name: 'worker-threads',
    maxThreads: slots * listeners,
    async start(job) {
      if (!isThreaded(job)) {
        throw new TypeError(
          'workerThreads: nothing to serve; pass it to createProxy({ executor }), or run your own module with serveModule()',
        )
      }
      const { memory, listen, options, logs, namespace, changes, logger, observer } = job
      const jobs = jobsOf.get(memory) ?? {
        free: Array.from({ length: listeners }, (_, at) => at),
        numbers: { last: 0 },
      }
      jobsOf.set(memory, jobs)
      const block = jobs.free.shift()
      if (block === undefined) {
        const addresses = listeners === 1 ? 'one address' : `${listeners} addresses`
        const message = `the threads of this proxy listen on ${addresses}; for another, use workerThreads({ listeners: ${listeners + 1} })`
        throw new ProxyError('ERR_PROXY_THREADS', message)
      }
      try {
        const work = { options, logs }
        const drainTimeoutMs = settings.drainTimeoutMs ?? job.drainTimeoutMs
        const { numbers } = jobs
        return await startThreads(
          {
            listen,
            work,
            namespace,
            memory,
            offset: block * slots,
            numbers,
            drainTimeoutMs,
            changes,
            logger,
            observer,
          },
          settings,
        )
      } catch (error) {
        jobs.free.unshift(block)
        throw error
      }
    },
  }
}

/** Whether the job comes from a proxy that supports threads. */
function isThreaded(job: Job | undefined): job is ThreadedJob {
  return job !== undefined && 'memory' in job
}
