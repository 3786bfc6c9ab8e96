import type { IncomingMessage, Server } from 'node:http'
import express, { type Express, type Request } from 'express'
import {
  bufferedBody,
  createProxy,
  errorPage,
  followRedirects,
  requestHook,
  rewriteCookies,
  rewriteLocation,
} from 'heddle'
import { handleUpgrades, proxyMiddleware } from 'heddle/express'
import { createProxyMiddleware, fixRequestBody, responseInterceptor } from 'heddle/middleware'

/*
 * The snippets of docs/recipes.md: `own` in heddle's API, `dropIn` in that of `heddle/middleware`. test/recipes.test.ts runs both, and
 * compares the document with this file.
 */

/** What the snippets take as given. */
export interface Given {
  readonly app: Express
  readonly server: Server
  /** URL of a server to proxy to. */
  readonly target: string
  /** Path of the unix socket of another one. */
  readonly socketPath: string
  /** A certificate authority, PEM. */
  readonly ca: string
  readonly logger: { info(line: string): void; warn(line: string): void; error(line: string): void }
  /** Looks up where a request goes. */
  findTarget(req: object): Promise<string>
  getToken(): Promise<string>
}

export interface Recipe {
  own(given: Given): void
  dropIn(given: Given): void
}

declare module 'express-session' {
  interface SessionData {
    user?: string
  }
}

export const recipes: Readonly<Record<string, Recipe>> = {
  'Remove or replace a prefix': {
    own({ app, target }) {
      app.use(proxyMiddleware({ target, routes: [{ path: '/api', stripPrefix: '/api', addPrefix: '/rest' }] }))
    },
    dropIn({ app, target }) {
      app.use(createProxyMiddleware({ target, pathFilter: '/api', pathRewrite: { '^/api': '/rest' } }))
    },
  },

  'Rewrite paths by a regular expression': {
    own({ app, target }) {
      const rewrite = requestHook((request) => {
        request.path = request.path.replace(/^\/(\w+)\/old/, '/new/$1')
      })
      app.use(proxyMiddleware({ target, routes: [{ interceptors: [rewrite] }] }))
    },
    dropIn({ app, target }) {
      app.use(createProxyMiddleware({ target, pathRewrite: { '^/(\\w+)/old': '/new/$1' } }))
    },
  },

  'Choose the target for each request, asynchronously': {
    own({ app, findTarget }) {
      const proxy = createProxy({})
      app.use(async (req, res) => proxy.web(req, res, { target: await findTarget(req) }))
    },
    dropIn({ app, findTarget }) {
      app.use(createProxyMiddleware({ router: async (req) => findTarget(req) }))
    },
  },

  'A header from the session': {
    own({ app, target }) {
      const proxy = createProxy({ target })
      app.use((req, res) => proxy.web(req, res, { headers: { set: { 'X-User': req.session.user ?? '' } } }))
    },
    dropIn({ app, target }) {
      app.use(
        createProxyMiddleware<Request>({
          target,
          on: { proxyReq: (proxyReq, req) => void proxyReq.setHeader('X-User', req.session.user ?? '') },
        }),
      )
    },
  },

  'A token that is fetched first': {
    own({ app, target, getToken }) {
      const authorize = requestHook(async (request) => {
        request.headers.set('Authorization', `Bearer ${await getToken()}`)
      })
      app.use(proxyMiddleware({ target, routes: [{ interceptors: [authorize] }] }))
    },
    dropIn({ app, target, getToken }) {
      app.use(async (req, _res, next) => {
        req.headers.authorization = `Bearer ${await getToken()}`
        next()
      })
      app.use(createProxyMiddleware({ target }))
    },
  },

  'Change the body of responses, compressed or not': {
    own({ app, target }) {
      const edit = (body: Buffer): string => body.toString().replace('Hello', 'Goodbye')
      app.use(proxyMiddleware({ target, routes: [{ interceptors: [bufferedBody({ edit })] }] }))
    },
    dropIn({ app, target }) {
      const edit = async (body: Buffer): Promise<string> => body.toString().replace('Hello', 'Goodbye')
      app.use(createProxyMiddleware({ target, selfHandleResponse: true, on: { proxyRes: responseInterceptor(edit) } }))
    },
  },

  'Respond with something else than the target has': {
    own({ app, target }) {
      const wrap = bufferedBody({
        edit(body, response) {
          response.headers.set('Content-Type', 'application/json')
          return JSON.stringify({ status: response.status, text: body.toString() })
        },
      })
      app.use(proxyMiddleware({ target, routes: [{ interceptors: [wrap] }] }))
    },
    dropIn({ app, target }) {
      const proxyRes = responseInterceptor(async (body, { statusCode }, _req, res) => {
        res.setHeader('Content-Type', 'application/json')
        return JSON.stringify({ status: statusCode, text: body.toString() })
      })
      app.use(createProxyMiddleware({ target, selfHandleResponse: true, on: { proxyRes } }))
    },
  },

  'Redirects and cookies that name the target': {
    own({ app, target }) {
      const interceptors = [rewriteLocation(), rewriteCookies({ domain: '', path: { '/app': '/' } })]
      app.use(proxyMiddleware({ target, routes: [{ interceptors }] }))
    },
    dropIn({ app, target }) {
      const cookiePathRewrite = { '/app': '/' }
      app.use(createProxyMiddleware({ target, autoRewrite: true, cookieDomainRewrite: '', cookiePathRewrite }))
    },
  },

  'A target with TLS, by its name (SNI)': {
    own({ app, target, ca }) {
      app.use(proxyMiddleware({ target: { url: target, tls: { ca } }, hostHeader: 'backend' }))
    },
    dropIn({ app, target, ca }) {
      app.use(createProxyMiddleware({ target, ca, changeOrigin: true }))
    },
  },

  'A target with a self-signed certificate': {
    own({ app, target }) {
      app.use(proxyMiddleware({ target: { url: target, tls: { rejectUnauthorized: false } } }))
    },
    dropIn({ app, target }) {
      app.use(createProxyMiddleware({ target, secure: false }))
    },
  },

  'Basic authentication at the target': {
    own({ app, target }) {
      const requestHeaders = { set: { Authorization: `Basic ${btoa('user:password')}` } }
      app.use(proxyMiddleware({ target, routes: [{ requestHeaders }] }))
    },
    dropIn({ app, target }) {
      app.use(createProxyMiddleware({ target, auth: 'user:password' }))
    },
  },

  Timeouts: {
    own({ app, target }) {
      app.use(proxyMiddleware({ target, timeouts: { connect: 300, headers: 300 } }))
    },
    dropIn({ app, target }) {
      app.use(createProxyMiddleware({ target, proxyTimeout: 300 }))
    },
  },

  'A line in the log for each request': {
    own({ app, target, logger }) {
      app.use(proxyMiddleware({ target, accessLog: { format: 'common', write: (line) => logger.info(line) } }))
    },
    dropIn({ app, target, logger }) {
      app.use(createProxyMiddleware({ target, logger }))
    },
  },

  'Decide by a function what is proxied': {
    own({ app, target }) {
      const api = proxyMiddleware({ target })
      app.use((req, res, next) => (req.method === 'GET' && req.path.endsWith('.json') ? api(req, res, next) : next()))
    },
    dropIn({ app, target }) {
      app.use(
        createProxyMiddleware({ target, pathFilter: (path, req) => req.method === 'GET' && path.endsWith('.json') }),
      )
    },
  },

  'A target on a unix socket': {
    own({ app, socketPath }) {
      app.use(proxyMiddleware({ target: `http+unix://${socketPath}` }))
    },
    dropIn({ app, socketPath }) {
      app.use(createProxyMiddleware({ target: { socketPath } }))
    },
  },

  'Change a JSON body': {
    own({ app, target }) {
      const proxy = createProxy({ target })
      app.use(express.json(), (req, res) => {
        proxy.web(req, res, { body: JSON.stringify({ ...req.body, tenant: 'a' }) })
      })
    },
    dropIn({ app, target }) {
      const proxyReq = (...[proxyReq, req]: Parameters<typeof fixRequestBody<Request>>): void => {
        req.body.tenant = 'a'
        fixRequestBody(proxyReq, req)
      }
      app.use(express.json(), createProxyMiddleware<Request>({ target, on: { proxyReq } }))
    },
  },

  'A body that a parser has read': {
    own({ app, target }) {
      const keep = (req: IncomingMessage, _res: unknown, rawBody: Buffer): void => void Object.assign(req, { rawBody })
      app.use(express.json({ verify: keep }), express.urlencoded({ extended: true, verify: keep }))
      app.use(proxyMiddleware({ target }))
    },
    dropIn({ app, target }) {
      const keep = (req: IncomingMessage, _res: unknown, rawBody: Buffer): void => void Object.assign(req, { rawBody })
      app.use(express.json({ verify: keep }), express.urlencoded({ extended: true, verify: keep }))
      app.use(createProxyMiddleware({ target }))
    },
  },

  'Follow redirects': {
    own({ app, target }) {
      app.use(proxyMiddleware({ target, routes: [{ interceptors: [followRedirects()] }] }))
    },
    dropIn({ app, target }) {
      app.use(createProxyMiddleware({ target, followRedirects: true }))
    },
  },

  'An error page': {
    own({ app, target }) {
      const page = errorPage({ html: '<h1>{{status}} {{message}}</h1>', json: true })
      app.use(proxyMiddleware({ target, routes: [{ interceptors: [page] }] }))
    },
    dropIn({ app, target }) {
      app.use(
        createProxyMiddleware<Request>({
          target,
          on: {
            error(_error, _req, res) {
              if ('writeHead' in res) res.writeHead(502, { 'Content-Type': 'text/html' })
              res.end('<h1>502 Bad Gateway</h1>')
            },
          },
        }),
      )
    },
  },

  WebSocket: {
    own({ app, server, target }) {
      const api = proxyMiddleware({ target })
      app.use(api)
      handleUpgrades(server, app)
    },
    dropIn({ app, target }) {
      app.use(createProxyMiddleware({ target, ws: true }))
    },
  },
}
