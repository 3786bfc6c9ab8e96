import { openSync } from 'node:fs'
import type { Express } from 'express'
import {
  type Affinity,
  type BodySource,
  compress,
  createProxy,
  defineConfig,
  type ExchangeView,
  type Handler as HandlerOfHeddle,
  type Interceptor as InterceptorOfHeddle,
  type Logger,
  lineWriter,
  type Proxy,
  type ProxyOptions,
  type RequestHead,
  type ResponseSink,
  serveModule,
  workerThreads,
} from 'heddle'
import { acme } from 'heddle/acme'
import { handleUpgrades, proxyMiddleware } from 'heddle/express'

/*
 * Fragments of the documents that no other file has, so that the compiler checks them: test/documents.test.ts looks for each. Nothing
 * runs this file.
 */

declare const backends: string[]
declare const auth: InterceptorOfHeddle
declare const timing: InterceptorOfHeddle
declare const logger: Logger

export async function accessLogInAFile(): Promise<void> {
  const log = lineWriter(openSync('access.log', 'a'))
  const proxy = createProxy({ backends, accessLog: { format: 'json', write: log.write } })
  await proxy.close()
  await log.close()
}

export async function update({ groups = {}, routes = [] }: ProxyOptions): Promise<void> {
  const proxy = createProxy({ backends })
  const { version, plan, applied, drained } = proxy.update({ groups, routes, timeouts: { headers: 10_000 } })
  console.log(version, plan.groups.added, plan.backends.removed, plan.restart)
  await applied // every thread has the new options
  await drained // nothing runs any more at backends that are gone
}

createProxy({ backends, routes: [{ path: '/private', interceptors: [auth, timing] }] })
createProxy({ backends, routes: [{ interceptors: [compress()] }] })

type Handler = (exchange: ExchangeView, request: RequestHead, body: BodySource | null, sink: ResponseSink) => void
interface Interceptor {
  readonly name: string
  wrap(next: Handler): Handler // which may be async
}
/** The two are those of the package. */
export const contract: (ours: Interceptor, handler: Handler) => [InterceptorOfHeddle, HandlerOfHeddle] = (
  ours,
  handler,
) => [ours, handler]

export function upgrades(app: Express, target: string): void {
  app.use('/api', proxyMiddleware({ target }))
  handleUpgrades(app.listen(8080), app)
}

export async function balancers(proxy: Proxy, { key, cert }: { key: string; cert: string }): Promise<void> {
  await proxy.listen({ port: 443, tls: { key, cert }, proxyProtocol: ['10.0.0.0/8'] })
}

export async function threads(): Promise<void> {
  const proxy = createProxy({
    backends: ['http://127.0.0.1:3001', 'http://127.0.0.1:3002'],
    balancer: 'least-connections',
    executor: workerThreads({ threads: 4 }), // or 'auto', or { min: 1, max: 4 }
  })
  await proxy.listen(8080)
}

export async function modules(): Promise<void> {
  // main.js
  const running = await serveModule(new URL('./server.js', import.meta.url), { listen: 8080, threads: 4, logger })
  await running.setBackends(backends) // in every thread
  await running.reload()
  await running.close()
}

export function sticky(
  io: { engine: { generateId: () => string } },
  name: string,
  sessionOf: (target: string) => string | undefined,
  sticky: Affinity,
  learnSession: InterceptorOfHeddle,
): unknown {
  const proxy = createProxy({ backends, affinity: sticky, routes: [{ interceptors: [learnSession] }] })
  io.engine.generateId = () => `${name}-${crypto.randomUUID()}` // in each server of socket.io

  const byName: Affinity = {
    name: 'session',
    onLost: 'refuse',
    // The backends have the names as their ids.
    find: (exchange, backends) => backends.find(({ id }) => sessionOf(exchange.target)?.startsWith(`${id}-`)) ?? null,
    bind() {},
  }
  return [proxy, byName]
}

export async function bundledWorker(): Promise<void> {
  const executor = workerThreads({ module: new URL('./worker.mjs', import.meta.url) })
  const proxy = createProxy({ target: 'http://127.0.0.1:3001', executor })
  await proxy.listen(8080)
}

export async function certificatesByAcme(): Promise<void> {
  const certificates = acme({
    names: ['a.example', 'www.a.example'],
    email: 'admin@a.example',
    agreeToTerms: true, // https://letsencrypt.org/repository/
    folder: '/var/lib/my-service/acme',
  })
  const proxy = createProxy({ target: 'http://127.0.0.1:3001' })
  await proxy.listen({ port: 443, tls: { certificates: [certificates] } })
}

export async function certificatesByHttp01(): Promise<void> {
  const certificates = acme({ names: ['a.example'], agreeToTerms: true, challenge: 'http-01' })
  const plain = createProxy({ target: 'http://127.0.0.1:3001', routes: [{ interceptors: [certificates.responder] }] })
  await plain.listen(80)
  const proxy = createProxy({ target: 'http://127.0.0.1:3001' })
  await proxy.listen({ port: 443, tls: { certificates: [certificates] } })
}

export const configurationWithAcme = defineConfig({
  backends: ['http://127.0.0.1:3001'],
  listen: [
    { port: 443, tls: { acme: { names: ['a.example'], agreeToTerms: true }, minVersion: 'TLSv1.3' } },
    { port: 8443, tls: { cert: 'b.pem', key: 'b-key.pem', acme: { names: ['a.example'], agreeToTerms: true } } },
  ],
})
