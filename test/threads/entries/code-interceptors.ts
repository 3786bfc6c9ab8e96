// A proxy with the interceptors that only code can describe.
import http from 'node:http'
import { Transform } from 'node:stream'
import { workerData } from 'node:worker_threads'
import { jwt } from '../../../src/adapters/jwt.ts'
import { bufferedBody, createProxy, requestHook, responseBody } from '../../../src/index.ts'

const { searchParams } = new URL(import.meta.url)
const { thread } = workerData.heddle
const hook = requestHook(async (request) => {
  if (request.path === '/hook/refused') return new Response(`not by thread ${thread}`, { status: 403 })
  request.headers.set('X-User', `thread ${thread}`)
  return undefined
})
const shout = () =>
  new Transform({ transform: (chunk, _encoding, done) => done(null, chunk.toString('latin1').toUpperCase()) })
const secret = searchParams.get('secret') ?? ''
const token = jwt({ issuer: 'test', audience: 'test', secret, claimsToHeaders: { sub: 'X-User' } })
const whole = bufferedBody({ edit: (body) => `${body} in thread ${thread}` })
const proxy = createProxy({
  logger: 'silent',
  target: searchParams.get('backend') ?? '',
  routes: [
    { path: '/hook', interceptors: [hook, whole] },
    { path: '/stream', interceptors: [responseBody({ transform: shout })] },
    { path: '/token', interceptors: [token, whole] },
  ],
})

export default http.createServer((req, res) => {
  if (req.url === '/who') return void res.end(String(thread))
  proxy.web(req, res)
})
