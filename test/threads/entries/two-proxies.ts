// Two proxies, each with a group of its own and one of the same name: /left and /right, and their /both; `?drain=` drains one of left.
import http from 'node:http'
import { workerData } from 'node:worker_threads'
import { createProxy, type Proxy } from '../../../src/index.ts'

const backend = new URL(import.meta.url).searchParams.get('backend') ?? ''

function proxyOf(group: string): Proxy {
  const backends = [{ url: backend, id: 'first' }]
  return createProxy({
    logger: 'silent',
    groups: { [group]: { backends }, both: { backends } },
    routes: [
      { path: `/${group}/both`, group: 'both' },
      { path: '/', group },
    ],
  })
}

const left = proxyOf('left')
const right = proxyOf('right')

export default http.createServer((req, res) => {
  if (req.url === '/who') return void res.end(String(workerData.heddle.thread))
  const { pathname, searchParams } = new URL(req.url ?? '', backend)
  const drained = searchParams.get('drain')
  if (drained !== null) return void left.drain(drained, 'left').then(() => res.end('drained'))
  const proxy = pathname.startsWith('/left') ? left : right
  proxy.web(req, res)
})
