export { inline } from './inline.ts'
export { workerThreads } from './worker-threads.ts'
