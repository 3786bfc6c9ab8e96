import type { Executor } from '../contracts/executor.ts'

/** Everything in the calling thread: the default. */
export function inline(): Executor {
  return {
    name: 'inline',
    maxThreads: 0,
    start(job) {
      if (job.serve === undefined)
        throw new TypeError('inline() serves what createProxy() makes; an entry module needs workerThreads()')
      return job.serve(job.listen)
    },
  }
}
