import http from 'node:http'
import { createProxy } from 'heddle'
import type { Given, Started } from './given.ts'

export function start({ target, port }: Given): Started {
  const proxy = createProxy({ target, routes: [{ path: '/api', stripPrefix: '/api' }] })
  const server = http.createServer((req, res) => {
    if (req.url?.startsWith('/api')) proxy.web(req, res)
    else res.end('the application')
  })
  proxy.attach(server) // WebSockets that a route matches
  server.listen(port)
  return { server, proxies: [proxy], close: () => server.close() }
}
