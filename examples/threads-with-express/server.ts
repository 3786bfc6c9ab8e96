// The module that each thread runs: an application with hooks of its own. It must not listen by itself.
import http from 'node:http'
import { threadId } from 'node:worker_threads'
import express from 'express'
import type { Transform } from 'heddle'
import { handleUpgrades, proxyMiddleware } from 'heddle/express'

const signed: Transform = {
  name: 'signed',
  response: (response) => response.headers.set('X-Thread', String(threadId)),
}
// One proxy in all threads, found by its name: they share the state of its backends.
const api = proxyMiddleware({
  name: 'api',
  target: process.env.BACKEND ?? 'http://127.0.0.1:3001',
  routes: [{ transforms: [signed] }],
})

const app = express()
app.get('/', (_req, res) => void res.send('the application\n'))
app.use('/api', api)

export default handleUpgrades(http.createServer(app), app)
