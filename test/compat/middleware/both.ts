import { once } from 'node:events'
import http from 'node:http'
import { test } from 'node:test'
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express'
import * as original from 'http-proxy-middleware'
import * as ours from '../../../src/compat/middleware/index.ts'
import { listening } from '../../support/running-proxy.ts'

/** What both packages export; the types are ours. */
export type Api = Omit<typeof ours, 'legacyCreateProxyMiddleware'>

export const ORIGINAL = original as unknown as Api

/** Runs a test twice: with this package and with http-proxy-middleware 4, which must pass it too. */
export function same(title: string, body: (api: Api) => Promise<void> | void, options: { skip?: boolean } = {}): void {
  test(`heddle/middleware: ${title}`, options, () => body(ours))
  test(`http-proxy-middleware: ${title}`, options, () => body(ORIGINAL))
}

/** A server on a free port. */
export interface Served extends AsyncDisposable {
  readonly server: http.Server
  readonly url: string
  readonly wsUrl: string
  readonly port: number
}

/** Serves a listener of node:http, an Express application among them. */
export async function served(listener: http.RequestListener): Promise<Served> {
  const server = http.createServer(listener)
  const port = await listening(server)
  return {
    server,
    port,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

/** An Express application with these handlers. */
export function app(...handlers: RequestHandler[]): Express {
  const application = express()
  // Unhandled errors would be printed.
  application.set('env', 'test')
  for (const handler of handlers) application.use(handler)
  return application
}

/** The same with an error handler, which says what it got. */
export function appWithErrors(...handlers: RequestHandler[]): Express {
  const onError: ErrorRequestHandler = (error, _req, res, _next) => {
    res.status(599).send(`handled: ${(error as Error).message}`)
  }
  return app(...handlers).use(onError)
}

/** A backend on node:http: says what it was asked for, unless it gets a listener. */
export function backend(listener: http.RequestListener = describe): Promise<Served> {
  return served(listener)
}

const describe: http.RequestListener = async (req, res) => {
  let body = ''
  for await (const chunk of req) body += chunk
  res.end(`${req.method} ${req.url}${body && ` ${body}`}`)
}

/** Status and text of a response. */
export async function get(url: string, init?: RequestInit): Promise<string> {
  const response = await fetch(url, { redirect: 'manual', ...init })
  return `${response.status} ${await response.text()}`
}

/** Collects the lines of a logger. */
export function recordingLogger(): ours.Logger & { readonly lines: string[] } {
  const lines: string[] = []
  const log =
    (level: string) =>
    (...args: unknown[]) =>
      void lines.push(`${level}: ${args.map(String).join(' ')}`)
  return { lines, info: log('info'), warn: log('warn'), error: log('error') }
}
