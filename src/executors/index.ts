export { inline } from './inline.ts'
export {
  type EntryJob,
  type RunningThreads,
  type ScaleOptions,
  type Spread,
  type WorkerThreads,
  type WorkerThreadsOptions,
  workerThreads,
} from './worker-threads.ts'
