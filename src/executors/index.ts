export { inline } from './inline.ts'
export { type ScaleOptions, type WorkerThreads, type WorkerThreadsOptions, workerThreads } from './worker-threads.ts'
