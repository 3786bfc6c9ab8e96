// Two proxies with the same backends, made in the other order in every second thread; `?same` gives both one name.
// /left and /right go through them, and /drain takes the first backend from left.
import http from 'node:http'
import { workerData } from 'node:worker_threads'
import { createProxy, type Proxy } from '../../../src/index.ts'

const { searchParams } = new URL(import.meta.url)
const { thread } = workerData.heddle

function make(name: string): Proxy {
  return createProxy({
    logger: 'silent',
    name: searchParams.has('same') ? 'left' : name,
    backends: searchParams.getAll('backend').map((url, index) => ({ url, id: `b${index}` })),
    balancer: 'first-available',
  })
}

const names = thread % 2 === 0 ? ['right', 'left'] : ['left', 'right']
const proxies = new Map(names.map((name) => [name, make(name)]))

export default http.createServer((req, res) => {
  const { pathname } = new URL(req.url ?? '', 'http://test')
  if (pathname === '/who') return void res.end(String(thread))
  if (pathname === '/drain')
    return void proxies
      .get('left')
      ?.drain('b0')
      .then(() => res.end('drained'))
  proxies.get(pathname.slice(1))?.web(req, res)
})
