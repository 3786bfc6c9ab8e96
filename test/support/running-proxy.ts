import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import {
  createProxy,
  type ExchangeRecord,
  type HttpServer,
  type ListenOptions,
  type Proxy,
  type ProxyError,
  type ProxyOptions,
} from '../../src/index.ts'
import { certificate, key } from './certificates.ts'
import { http2Gateway } from './http2-gateway.ts'

/** A proxy that listens, and all that it tells. */
export interface RunningProxy extends AsyncDisposable {
  readonly proxy: Proxy
  readonly url: string
  readonly port: number
  readonly errors: ProxyError[]
  /** The next record that no earlier call has returned; waits for it. */
  nextRecord(): Promise<ExchangeRecord>
  /** Pending attempts, over all backends. */
  pending(): number
}

/** Listens with `proxy.listen()`. */
export async function runProxy(options: ProxyOptions, listen: Partial<ListenOptions> = {}): Promise<RunningProxy> {
  const proxy = makeProxy(options)
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', ...listen })
  return watch(proxy, port, () => proxy.close())
}

/** Listens with `proxy.listen()`, in clear text for HTTP/1.1 and HTTP/2. */
export function runBoth(options: ProxyOptions, listen: Partial<ListenOptions> = {}): Promise<RunningProxy> {
  return runProxy(options, { protocols: ['http/1.1', 'h2'], ...listen })
}

/** Listens with an application's server, by default `http.createServer(proxy.web)`. */
export async function runInServer(
  options: ProxyOptions,
  serve: (proxy: Proxy) => HttpServer = (proxy) => http.createServer(proxy.web),
): Promise<RunningProxy> {
  const proxy = makeProxy(options)
  const server = serve(proxy)
  const port = await listening(server)
  return watch(proxy, port, async () => {
    server.close()
    await proxy.close()
    server.closeAllConnections()
  })
}

/** Serves an application behind a listener of a proxy whose routes match nothing. `options` are those of the application's proxy. */
export async function runAsFallback(
  options: ProxyOptions,
  serve: (proxy: Proxy) => http.Server,
): Promise<RunningProxy> {
  const proxy = makeProxy(options)
  const outer = makeProxy({ routes: [{ host: 'nobody.invalid' }] })
  const { port } = await outer.listen({ port: 0, host: '127.0.0.1', fallback: serve(proxy) })
  return watch(proxy, port, async () => {
    await outer.close()
    await proxy.close()
  })
}

/** A way in for requests. */
export interface WayIn {
  readonly name: string
  run(options: ProxyOptions): Promise<RunningProxy>
  /** The listener is ours: it has limits of its own, and it tells of what cannot be read. In an application's server that is node's. */
  readonly isOurs: boolean
}

/** The two fronts: the socket server of a listener of our own, and an application's node:http server. What holds, holds on both. */
export const FRONTS: readonly WayIn[] = [
  { name: 'proxy.listen()', run: runProxy, isOurs: true },
  {
    name: 'proxy.attach(server)',
    run: (options) =>
      runInServer(options, (proxy) => {
        const server = http.createServer()
        proxy.attach(server)
        return server
      }),
    isOurs: false,
  },
]

/** Listens for HTTP/2 alone, behind a gateway for tests that speak HTTP/1.1. */
export async function runGateway(options: ProxyOptions): Promise<RunningProxy> {
  const proxy = makeProxy(options)
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', protocols: ['h2'] })
  const gateway = await http2Gateway(port)
  return watch(proxy, gateway.port, async () => {
    await gateway[Symbol.asyncDispose]()
    await proxy.close()
  })
}

/** HTTP/2. */
export const HTTP2: WayIn = { name: 'HTTP/2', run: runGateway, isOurs: true }

/** An application's own node:http2 server, behind the same gateway. */
export const HTTP2_COMPAT: WayIn = {
  name: 'HTTP/2, proxy.web',
  async run(options) {
    const proxy = makeProxy(options)
    const server = http2.createServer(proxy.web as never)
    const gateway = await http2Gateway(await listening(server as unknown as HttpServer))
    return watch(proxy, gateway.port, async () => {
      await gateway[Symbol.asyncDispose]()
      server.close()
      await proxy.close()
    })
  },
  isOurs: false,
}

/** {@link FRONTS}, and HTTP/2: for what does not depend on the version. */
export const ALL_FRONTS: readonly WayIn[] = [...FRONTS, HTTP2]

/** `skip` of a test that means nothing in HTTP/2. @param name of the way in. @param why it means nothing. */
export function inHttp2(name: string, why: string): string | false {
  return name.startsWith(HTTP2.name) ? why : false
}

/** The same two over TLS, with the certificate of ./certificates.ts. */
export const SECURE_FRONTS: readonly Pick<WayIn, 'name' | 'run'>[] = [
  {
    name: 'proxy.listen({ tls })',
    async run(options) {
      const proxy = makeProxy(options)
      const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', tls: { key, cert: certificate } })
      return { ...watch(proxy, port, () => proxy.close()), url: `https://127.0.0.1:${port}` }
    },
  },
  {
    name: 'an https server',
    async run(options) {
      const front = await runInServer(options, (proxy) => https.createServer({ key, cert: certificate }, proxy.web))
      return { ...front, url: `https://127.0.0.1:${front.port}` }
    },
  },
]

/** Lets `server` listen on a free port. @returns the port. */
export async function listening(server: HttpServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

function makeProxy(options: ProxyOptions): Proxy {
  // The failures of a test are expected, and its log lines would bury those of a test that fails.
  return createProxy({ drainTimeoutMs: 100, logger: 'silent', ...options })
}

function watch(proxy: Proxy, port: number, close: () => Promise<void>): RunningProxy {
  const errors: ProxyError[] = []
  const records = queue<ExchangeRecord>()
  proxy.on('error', (error) => errors.push(error))
  proxy.on('finish', (_exchange, record) => records.push(record))
  return {
    proxy,
    port,
    url: `http://127.0.0.1:${port}`,
    errors,
    nextRecord: records.next,
    pending: () =>
      proxy.stats().groups.reduce((sum, group) => sum + group.backends.reduce((n, one) => n + one.pending, 0), 0),
    [Symbol.asyncDispose]: close,
  }
}

/** Hands out values in order; either side may come first. */
export function queue<Value>(): { push(value: Value): void; next(): Promise<Value> } {
  const values: Value[] = []
  const takers: ((value: Value) => void)[] = []
  return {
    push(value) {
      const taker = takers.shift()
      if (taker === undefined) values.push(value)
      else taker(value)
    },
    next() {
      const value = values.shift()
      return value === undefined ? new Promise((resolve) => takers.push(resolve)) : Promise.resolve(value)
    },
  }
}

/** A promise and the function that fulfils it. */
export function gate<Value = void>(): { readonly promise: Promise<Value>; open(value: Value): void } {
  let open!: (value: Value) => void
  const promise = new Promise<Value>((resolve) => {
    open = resolve
  })
  return { promise, open }
}

/** Lets a few rounds of I/O pass, for what must NOT happen to have its chance. */
export async function rounds(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}
