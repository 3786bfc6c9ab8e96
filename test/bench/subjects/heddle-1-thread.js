import { listenWithThreads } from '../listen-with-threads.js'

await listenWithThreads(1)
