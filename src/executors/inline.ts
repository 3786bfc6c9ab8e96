import type { Executor } from '../contracts/executor.ts'

/** Serves in the calling thread: the default. */
export function inline(): Executor {
  return { name: 'inline', maxThreads: 0, start: (job) => job.serve(job.listen) }
}
