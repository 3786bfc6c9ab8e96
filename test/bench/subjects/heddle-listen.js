import { listen } from '../listen.js'

await listen({})
