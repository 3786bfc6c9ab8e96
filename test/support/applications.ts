import http, { type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import express5, { type ErrorRequestHandler } from 'express'
import Koa from 'koa'
import { proxyMiddleware as expressMiddleware } from '../../src/adapters/express.ts'
import { proxyMiddleware as koaMiddleware } from '../../src/adapters/koa.ts'
import type { MiddlewareOptions, Proxy, ProxyOptions } from '../../src/index.ts'
import { type RunningProxy, runAsFallback, runInServer } from './running-proxy.ts'
import { upgradeRequest } from './upgrade-backends.ts'

const express4: typeof express5 = createRequire(import.meta.url)('express4')

/** The application's own code for a request, before the proxy gets it. */
export interface Code {
  /** @param res `null` for an upgrade. */
  before?(req: IncomingMessage, res: ServerResponse | null): void
  /** Calls the proxy. Not used by an application whose server calls the proxy's listeners. */
  around?(req: IncomingMessage, call: () => void): void
  /** Gets the failures of a framework's middleware with `passErrors`; it must respond. */
  onError?(error: unknown, req: IncomingMessage, res: ServerResponse): void
}

/** A way in which an application gives its requests to a proxy. */
export interface Application {
  readonly name: string
  /** Its requests ask for an upgrade. */
  readonly isUpgrade: boolean
  /** It has a response to which it may add headers. */
  readonly hasResponse: boolean
  /** It calls the proxy, and no listener of the proxy's. */
  readonly calls: boolean
  /** It is a middleware, with `passErrors`. */
  readonly passesErrors: boolean
  run(options: ProxyOptions, code: Code, prepare?: (proxy: Proxy) => void): Promise<RunningProxy>
  /** The text of a request for it, whose connection ends with the response. */
  ask(lines: readonly string[], target?: string, method?: string): string
}

function get(lines: readonly string[], target = '/', method = 'GET'): string {
  return [`${method} ${target} HTTP/1.1`, 'Host: example.test', 'Connection: close', ...lines, '', ''].join('\r\n')
}

function upgradeTo(protocol: string): Application['ask'] {
  return (lines, path = '/', method = 'GET') =>
    upgradeRequest({ path, method, protocol, extra: lines.map((line) => `${line}\r\n`).join('') })
}

type Serve = (proxy: Proxy, code: Required<Code>, options: MiddlewareOptions) => Server

function application(
  name: string,
  serve: Serve,
  facts: Partial<Omit<Application, 'name' | 'run'>> = {},
  runIn: (options: ProxyOptions, serve: (proxy: Proxy) => Server) => Promise<RunningProxy> = runInServer,
): Application {
  const { ask = get, isUpgrade = false, hasResponse = true, calls = true, passesErrors = false } = facts
  return {
    ...{ name, ask, isUpgrade, hasResponse, calls, passesErrors },
    run: (options, { before = () => {}, around = (_req, call) => call(), onError }, prepare) =>
      runIn(options, (proxy) => {
        prepare?.(proxy)
        const respond: Code['onError'] = (error, _req, res) => res.writeHead(599).end(String(error))
        const passErrors = onError !== undefined
        return serve(proxy, { before, around, onError: onError ?? respond }, { passErrors })
      }),
  }
}

function connect(name: string, create: (listener: RequestListener) => Server): Application {
  return application(
    name,
    (proxy, { before, around, onError }, options) => {
      const handle = proxy.middleware(options)
      return create((req, res) => {
        before(req, res)
        around(req, () => handle(req, res, (error) => onError(error, req, res)))
      })
    },
    { passesErrors: true },
  )
}

function expressOf(name: string, express: typeof express5): Application {
  return application(
    name,
    (proxy, { before, around, onError }, options) => {
      const handle = expressMiddleware({ proxy, ...options })
      const app = express()
      app.use((req, res, next) => {
        before(req, res)
        around(req, () => handle(req, res, next))
      })
      const onFailure: ErrorRequestHandler = (error, req, res, _next) => onError(error, req, res)
      return http.createServer(app.use(onFailure) as RequestListener)
    },
    { passesErrors: true },
  )
}

const web: Serve = (proxy, { before, around }) =>
  http.createServer((req, res) => {
    before(req, res)
    around(req, () => proxy.web(req, res))
  })

const ws: Serve = (proxy, { before, around }) =>
  http.createServer().on('upgrade', (req, socket, head) => {
    before(req, null)
    around(req, () => proxy.ws(req, socket, head))
  })

const attached: Serve = (proxy, { before }) => {
  const server = http.createServer()
  proxy.attach(server)
  return server.prependListener('request', before)
}

/** The ways in which an application can use a proxy. */
export const APPLICATIONS: readonly Application[] = [
  application('proxy.web', web),
  connect('proxy.middleware', (listener) => http.createServer(listener)),
  expressOf('Express 5', express5),
  expressOf('Express 4', express4),
  application(
    'Koa',
    (proxy, { before, around, onError }, options) => {
      const app = new Koa()
      app.silent = true
      app.use(async (ctx, next) => {
        try {
          before(ctx.req, ctx.res)
          await new Promise<void>((resolve, reject) => around(ctx.req, () => void next().then(resolve, reject)))
        } catch (error) {
          ctx.respond = false
          onError(error, ctx.req, ctx.res)
        }
      })
      return http.createServer(app.use(koaMiddleware({ proxy, ...options })).callback())
    },
    { passesErrors: true },
  ),
  application('proxy.attach, a request', attached, { calls: false }),
  application('proxy.attach, an upgrade that is ignored', attached, { calls: false, ask: upgradeTo('h2c') }),
  application('listen({ fallback }), a request', web, {}, runAsFallback),
  application(
    'proxy.attach, an upgrade',
    (proxy, { before }) => {
      const server = http.createServer()
      proxy.attach(server)
      return server.prependListener('upgrade', (req) => before(req, null))
    },
    { isUpgrade: true, hasResponse: false, calls: false, ask: upgradeTo('foo') },
  ),
  application('proxy.ws', ws, { isUpgrade: true, hasResponse: false, ask: upgradeTo('foo') }),
  application(
    'listen({ fallback }), an upgrade',
    ws,
    { isUpgrade: true, hasResponse: false, ask: upgradeTo('foo') },
    runAsFallback,
  ),
  application('proxy.ws, an upgrade that is ignored', ws, { hasResponse: false, ask: upgradeTo('h2c') }),
]
