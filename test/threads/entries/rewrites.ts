// A proxy with the interceptors that rewrite what backends say about themselves, and those that follow redirects and make pages.
import http from 'node:http'
import { workerData } from 'node:worker_threads'
import { createProxy, errorPage, followRedirects, rewriteCookies, rewriteLocation } from '../../../src/index.ts'

const { searchParams } = new URL(import.meta.url)
const interceptors = [
  errorPage({ json: true, statuses: [503] }),
  rewriteLocation({ prefix: '/api' }),
  rewriteCookies({ domain: 'public.test', path: { '/': '/api' }, sameSite: 'lax' }),
]
const proxy = createProxy({
  logger: 'silent',
  groups: {
    app: { backends: searchParams.getAll('backend'), balancer: 'round-robin', healthCheck: false },
    dead: { backends: [searchParams.get('dead') ?? ''], retry: false },
  },
  routes: [
    { path: '/api', stripPrefix: '/api', group: 'app', interceptors },
    { path: '/follow', group: 'app', interceptors: [followRedirects()] },
    { path: '/dead', group: 'dead', interceptors },
  ],
})

export default http.createServer((req, res) => {
  if (req.url === '/who') return void res.end(String(workerData.heddle.thread))
  proxy.web(req, res)
})
