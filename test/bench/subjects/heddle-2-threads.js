import { workerThreads } from '../../../dist/src/index.js'
import { listen } from '../listen.js'

await listen({ executor: workerThreads({ threads: 2 }) })
