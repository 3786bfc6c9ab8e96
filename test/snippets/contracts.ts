import { describe, test } from 'node:test'
import { pino } from 'pino'
import {
  type Affinity,
  type Balancer,
  createProxy,
  type Executor,
  type HealthCheck,
  type Interceptor,
  type Logger,
  type Observer,
  type Pool,
  type RetryPolicy,
  respond,
  standardPool,
  type Transform,
} from '../../src/index.ts'
import { balancerSuite, loggerSuite, poolSuite } from '../../src/testing/index.ts'

// The snippets of docs/contracts.md, so that the compiler checks them: test/documents.test.ts looks for them. Nothing runs this file.

declare const backends: string[]
declare const shifts: Set<string>
declare function myBalancer(deps: { random(): number }): Balancer
declare function myLogger(): Logger
declare function myPool(): Pool

balancerSuite('my balancer', ({ random }) => myBalancer({ random }), { describe, test }, { sharesByWeight: false })
loggerSuite('my logger', () => myLogger(), { describe, test })
poolSuite('my pool', () => myPool(), { describe, test })

const ping: Interceptor = {
  name: 'ping',
  wrap: (next) => (exchange, request, body, sink) => {
    if (request.path !== '/ping') return next(exchange, request, body, sink)
    respond(sink, { status: 200, body: 'pong\n' })
  },
}
createProxy({ backends, routes: [{ interceptors: [ping] }] })

const tenant: Transform = {
  name: 'tenant',
  request: (request, exchange) => request.headers.set('X-Tenant', exchange.host.split('.')[0] ?? ''),
  response: (response) => response.headers.delete('Server'),
}
createProxy({ backends, routes: [{ transforms: [tenant] }] })

const fewestErrors: Balancer = {
  name: 'fewest-errors',
  pick: (candidates) => candidates.reduce((best, next) => (next.state.failures < best.state.failures ? next : best)),
}
createProxy({ backends, balancer: fewestErrors })

const byCookie: Affinity = {
  name: 'cookie',
  onLost: 'rebalance',
  find(exchange, backends) {
    const id = /(?:^|; )backend=([\w-]+)/.exec(exchange.header('cookie') ?? '')?.[1]
    return backends.find((backend) => backend.id === id) ?? null
  },
  bind: (backend, response) => response.append('Set-Cookie', `backend=${backend.id}; Path=/; HttpOnly`),
}
createProxy({ backends, affinity: byCookie })

const inner = standardPool()
let leases = 0
const counted: Pool = {
  ...inner,
  acquire(backend, exchange) {
    leases++
    return inner.acquire(backend, exchange)
  },
}

const slow: HealthCheck = {
  name: 'too-slow',
  observe(backend, outcome, control) {
    if (outcome.firstByteMs > 5_000) control.eject(backend, 30_000, 'took more than 5 s')
  },
}

const inShift: HealthCheck = {
  name: 'in-shift',
  observe() {},
  watch(backend, control) {
    const look = () => control.setUnhealthy(backend, !shifts.has(backend.id), 'its shift is over')
    const timer = setInterval(look, 1000).unref()
    return () => clearInterval(timer)
  },
}

const once: RetryPolicy = { name: 'once', next: (exchange) => (exchange.attempts < 2 ? 0 : -1) }

const slowConnections: Observer = {
  name: 'slow-connections',
  onAttemptEnd({ backend, times: { connectMs, tlsMs } }) {
    if (connectMs + tlsMs > 500) console.log(`${backend.id}: ${connectMs} ms to connect, ${tlsMs} ms for TLS`)
  },
}
createProxy({ backends, observers: [slowConnections] })

createProxy({ backends, logger: pino() }) // or console, 'console', 'silent'; by default 'warnings'

const logged: Executor = {
  name: 'logged',
  maxThreads: 0, // or that of the workerThreads() that it wraps
  async start(job) {
    const running = await job.serve(job.listen)
    console.log(`serving ${running.address.url}`)
    return running
  },
}
createProxy({ backends, executor: logged })

export { counted, inShift, leases, once, slow }
