import { readFileSync } from 'node:fs'
import { createProxy, workerThreads } from '../../dist/src/index.js'
import { announce, endWithParent } from './announce.js'
import { backends } from './serve.js'

/** A subject that listens by itself, with so many threads. */
export async function listenWithThreads(threads) {
  endWithParent()
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const proxy = createProxy({ backends, executor: workerThreads({ threads }) })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  announce({ port, version })
}
