// Interceptors stand between a route and its backends: one of each kind.
// Run: npm run build && node dist/examples/interceptors.js
// Try: curl -i http://127.0.0.1:8080/private -H 'Authorization: Bearer secret', or /ping, /busy, /loud
import { createProxy, headerView, type Interceptor, ownHeaders, respond, wrapSink } from 'heddle'
import { mockBackend } from 'heddle/testing'

/** Asks somebody else first. */
const own = ownHeaders(['X-User']) // what a client sends by this name is removed
const auth: Interceptor = {
  name: 'auth',
  wrap: (next) => async (exchange, request, body, sink) => {
    const user = await findUser(exchange.header('authorization'), exchange.signal)
    if (user === undefined) return respond(sink, { status: 401, headers: ['WWW-Authenticate', 'Bearer realm="x"'] })
    next(exchange, { ...request, headers: own.replace(request.headers, ['X-User', user]) }, own.clean(body), sink)
  },
}

/** Responds itself. */
const ping: Interceptor = {
  name: 'ping',
  wrap: (next) => (exchange, request, body, sink) => {
    if (request.path !== '/ping') return next(exchange, request, body, sink)
    respond(sink, { status: 200, headers: ['Content-Type', 'text/plain'], body: 'pong\n' })
  },
}

/** Rewrites the body while it streams. */
const shout: Interceptor = {
  name: 'shout',
  wrap: (next) => (exchange, request, body, sink) =>
    next(
      exchange,
      request,
      body,
      wrapSink(sink, {
        onHead(head, flow) {
          headerView(head.headers).delete('ETag')
          sink.onHead({ ...head, bodyBytes: -1 }, flow)
        },
        onData: (chunk) => sink.onData(Buffer.from(chunk.toString('latin1').toUpperCase(), 'latin1')),
      }),
    ),
}

/** Sends the request again if the response is 503, once. */
const retryOn503: Interceptor = {
  name: 'retry-on-503',
  wrap: (next) => (exchange, request, body, sink) => {
    const first = new AbortController()
    const again = wrapSink(sink, {
      onHead(head, flow) {
        if (head.status !== 503 || body?.isReplayable === false) return sink.onHead(head, flow)
        first.abort()
        next(exchange, request, body, sink)
      },
    })
    next(exchange, { ...request, signal: first.signal }, body, again)
  },
}

/** Adds a header to the response. */
const timing: Interceptor = {
  name: 'timing',
  wrap: (next) => (exchange, request, body, sink) => {
    const startedAt = performance.now()
    const timed = wrapSink(sink, {
      onHead(head, flow) {
        headerView(head.headers).set('Server-Timing', `backend;dur=${(performance.now() - startedAt).toFixed(1)}`)
        sink.onHead(head, flow)
      },
    })
    next(exchange, request, body, timed)
  },
}

/** Stands for a call of a service: `fetch(url, { headers, signal })`. */
async function findUser(authorization: string | undefined, _signal: AbortSignal): Promise<string | undefined> {
  return authorization === 'Bearer secret' ? 'alice' : undefined
}

let isBusy = true
const backend = await mockBackend((request, reply) => {
  if (request.path === '/busy' && isBusy) {
    isBusy = false
    reply.send({ status: 503 })
  } else reply.send({ body: `hello ${request.header('x-user') ?? 'stranger'}\n` })
})
const proxy = createProxy({
  groups: { app: { target: backend.url } },
  routes: [
    { path: '/private', group: 'app', interceptors: [auth] },
    { path: '/loud', group: 'app', interceptors: [shout] },
    { group: 'app', interceptors: [timing, ping, retryOn503] },
  ],
})
const { url } = await proxy.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' })
console.log(`listening on ${url}`)

async function stop(): Promise<void> {
  await proxy.close()
  await backend.close()
}
process.once('SIGINT', stop).once('SIGTERM', stop)
