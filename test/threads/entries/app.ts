// An application of its own: Express, a hook, and two proxies of which one balances by a function of its own.
import http from 'node:http'
import { workerData } from 'node:worker_threads'
import express from 'express'
import { createProxy, type Transform } from '../../../src/index.ts'

const { searchParams } = new URL(import.meta.url)
const signed: Transform = {
  name: 'signed',
  request: (request) => request.headers.set('X-Signed', 'by a hook'),
}
const api = createProxy({
  logger: 'silent',
  backends: searchParams.getAll('backend').map((url, index) => ({ url, id: `b${index}` })),
  balancer: { name: 'first', pick: ([first]) => first },
  routes: [{ path: '/api', stripPrefix: '/api', transforms: [signed] }],
  healthCheck: { consecutiveFailures: 1 },
  retry: false,
})
const pages = createProxy({
  logger: 'silent',
  target: searchParams.get('pages') ?? 'http://127.0.0.1:1',
  accessLog: { format: 'common', write: () => {} },
})

const app = express()
app.use((req, res, next) => {
  req.headers['x-thread'] = String(workerData.heddle.thread)
  res.cookie('own', '1')
  next()
})
app.use(api.middleware())
app.get('/who', (_req, res) => void res.send(String(workerData.heddle.thread)))
app.use(pages.middleware())

export default async function serve(): Promise<http.Server> {
  await Promise.resolve()
  return http.createServer(app).on('upgrade', pages.ws)
}
