import type { FastifyInstance, FastifyPluginAsync, preHandlerHookHandler, RouteHandlerMethod } from 'fastify'
import { handleUpgrades, ProxyError, type ProxyOptions } from '../index.ts'
import { checkedOptions, type ProxyMiddlewareOptions, passBody, proxyOf } from './proxy-of.ts'

export type { ProxyMiddlewareOptions }

/** The methods of routes in Fastify 4, which does not say which ones it supports. */
const METHODS = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT']

/** Default of `drainTimeoutMs`, ms. Fastify gives up after its `pluginTimeout`, 10 s, and `app.close()` then never resolves. */
const DRAIN_MS = 8_000

const BESIDE_FASTIFY_WEBSOCKET =
  '@fastify/websocket responds to every upgrade of its server, so that no WebSocket reaches the proxy; give it another server (its option options.server), or use ws or socket.io with a path of their own'

/** Options of {@link proxyPlugin}: those of `createProxy()`, or an existing proxy, and how its routes are registered. */
export type ProxyPluginOptions = ProxyMiddlewareOptions & {
  /** Path under which requests are proxied; Fastify's own option. It is not sent to the backend. Default: that of the scope. */
  prefix?: string
  /** Path that is sent instead of the prefix, such as `/v1`. A path that could lead out of it gets 400 (`/../x`). Default: none. */
  rewritePrefix?: string
  /** Runs before a request is proxied, after the hooks of the scope. It may respond itself. */
  preHandler?: preHandlerHookHandler | preHandlerHookHandler[]
  /**
   * Runs WebSockets of the server through Fastify, its hooks included: {@link handleUpgrades}. It counts for all routes of the server,
   * so one of several proxies is enough. Default false.
   */
  websocket?: boolean
  /**
   * `false`: Fastify parses bodies first, and hooks see `request.body`; the proxy sends them from memory. Default true: bodies stream
   * through as they are.
   */
  proxyPayloads?: boolean
}

/**
 * For Fastify 4 and 5: `app.register(proxyPlugin, { prefix: '/api', target: 'http://127.0.0.1:3001' })`. Hooks of the scope apply; those
 * that change payloads (`onSend`) do not, since the response does not pass through Fastify. Headers that hooks have set are sent,
 * unless the backend sends others. A request that no route of the proxy matches gets Fastify's 404. With `passErrors`, failures go to
 * Fastify's error handler. The proxy logs to Fastify's logger, and closes with Fastify (`drainTimeoutMs` is 8 s here: keep it below
 * Fastify's `pluginTimeout`); a proxy that you have given does neither.
 */
export const proxyPlugin: FastifyPluginAsync<ProxyPluginOptions> = async (fastify, options) => {
  const {
    rewritePrefix = '',
    preHandler = [],
    websocket = false,
    proxyPayloads = true,
    ...more
  } = checkedOptions(options)
  const { passErrors = false } = more
  const { proxy, handle } = proxyOf(ofProxy(fastify, more))
  // 'onClose' comes when all connections have ended, and WebSockets do not end by themselves.
  if (more.proxy === undefined) fastify.addHook('preClose', () => proxy.close())
  if (websocket) {
    handleUpgrades(fastify.server, fastify.routing)
    fastify.addHook('onReady', async () => {
      if (fastify.hasDecorator('websocketServer')) fastify.log.warn(BESIDE_FASTIFY_WEBSOCKET)
    })
  }
  if (proxyPayloads) {
    fastify.removeAllContentTypeParsers()
    fastify.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null))
  }
  const mount = mountPath(fastify)

  const handler: RouteHandlerMethod = (request, reply) => {
    const { raw: req } = request
    const { url = '/' } = req
    const rewritten = rewrittenUrl(url, mount, rewritePrefix)
    if (rewritten === null) {
      const message = 'the request has a path that could lead out of the prefix'
      reply.send(new ProxyError('ERR_PROXY_BAD_REQUEST', message))
      return
    }
    passBody(request, req)
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(name, value)
    }
    let isReturned = false
    let refused: { readonly error: unknown } | null = null
    const respond = (error: unknown): unknown => (error === undefined ? reply.callNotFound() : reply.send(error))
    // The engine reads the URL before it returns.
    req.url = rewritten
    handle(req, reply.raw, (error) => {
      if (isReturned) respond(error)
      else refused = { error }
    })
    req.url = url
    isReturned = true
    if (refused !== null) respond((refused as { readonly error: unknown }).error)
    // Otherwise Fastify may have to respond later.
    else if (!passErrors) reply.hijack()
  }
  for (const path of ['/', '/*']) {
    // A plugin for CORS has its own route for preflights.
    const method = (fastify.supportedMethods ?? METHODS).filter(
      (name) => name !== 'OPTIONS' || !fastify.hasRoute({ method: name, url: fastify.prefix + path }),
    )
    fastify.route({ method, url: path, preHandler, handler })
  }
}

/** The options of the proxy, without those that are Fastify's own. */
function ofProxy(
  fastify: FastifyInstance,
  { prefix: _, logLevel: __, logSerializers: ___, ...options }: ProxyPluginOptions & Record<string, unknown>,
): ProxyMiddlewareOptions {
  if (options.proxy !== undefined) return options
  const { logger = fastify.log, drainTimeoutMs = DRAIN_MS } = options
  return { ...(options as ProxyOptions), logger, drainTimeoutMs }
}

/**
 * Finds the path that Fastify has matched with a prefix. Not the text of the prefix: it may have parameters, and the client may have
 * encoded it, or written it in another case.
 */
function mountPath({ prefix, initialConfig }: FastifyInstance): RegExp {
  const segments = prefix.split('/').filter((segment) => segment !== '').length
  // The default of Fastify 4: `;` begins the query.
  const { useSemicolonDelimiter, routerOptions } = initialConfig as RouterConfig
  const ends = (routerOptions?.useSemicolonDelimiter ?? useSemicolonDelimiter) === true ? '/?#;' : '/?#'
  return new RegExp(`^(https?://[^/?#]*)?(?:/+[^${ends}]+){${segments}}`, 'i')
}

interface RouterConfig {
  readonly useSemicolonDelimiter?: boolean
  readonly routerOptions?: { readonly useSemicolonDelimiter?: boolean }
}

/** A dot segment, as a server may read it that decodes slashes, or drops the parameters of a segment. */
const DOT_SEGMENT = /(?:\/|%2f|%5c)(?:\.|%2e){1,2}(?:$|[/;]|%2f|%5c|%3b)/i

/** @returns `null` if the path could lead out of the prefix. */
function rewrittenUrl(url: string, mount: RegExp, rewritePrefix: string): string | null {
  if (url === '*') return url
  const found = mount.exec(url)
  // Fastify and we read it in different ways.
  if (found === null) return null
  const [matched, origin = ''] = found
  const rest = url.slice(matched.length)
  const prefix = rewritePrefix.replace(/\/$/, '')
  // The proxy itself confines paths below the path of a backend's URL only.
  if (prefix !== '' && DOT_SEGMENT.test(rest.split('?', 1)[0] as string)) return null
  const path = prefix + rest
  return origin + (path.startsWith('/') ? path : `/${path}`)
}
