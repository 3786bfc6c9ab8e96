import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Context, HonoRequest, MiddlewareHandler } from 'hono'
import { handleUpgrades, type Proxy } from '../index.ts'
import { handled, type ProxyMiddlewareOptions, passBody, proxyOf } from './proxy-of.ts'

export { handleUpgrades, type ProxyMiddlewareOptions }

/** A Hono handler with its proxy. */
export type HonoProxy = MiddlewareHandler & { readonly proxy: Proxy }

/**
 * For Hono on `@hono/node-server` 1 and 2: `app.all('/api/*', proxyMiddleware({ target: 'http://127.0.0.1:3001' }))`. As elsewhere in Hono,
 * the path is sent whole; `routes: [{ path: '/api', stripPrefix: '/api' }]` removes a prefix. If a route matches, the response goes
 * through node's, and the handler resolves when it has ended; otherwise the next handler is called. Headers that earlier middleware
 * has set are sent, unless the backend sends others. A body that `c.req` has read is sent from memory. With `passErrors`, failures go to
 * `app.onError`. WebSockets pass through the application too: `handleUpgrades(server, getRequestListener(app.fetch))`. The application
 * must close `handler.proxy`. On other runtimes each request fails with an error that says so.
 */
export function proxyMiddleware(options: ProxyMiddlewareOptions): HonoProxy {
  const { proxy, handle } = proxyOf(options)
  const middleware: MiddlewareHandler = async (c, next) => {
    const { incoming: req, outgoing: res } = (c.env ?? {}) as Partial<{
      incoming: IncomingMessage
      outgoing: ServerResponse
    }>
    if (req === undefined) {
      const advice = 'on Bun, Deno and Workers use the proxy helper of Hono'
      throw new Error(`heddle/hono needs @hono/node-server, which gives c.env.incoming and c.env.outgoing; ${advice}`)
    }
    // The WebSocket support of @hono/node-server asks the application, too; we get the upgrade from handleUpgrades().
    if (res === undefined) return new Response(null, { status: 501 })
    if (Object.keys(c.req.bodyCache).length > 0) passBody(await keptBody(c.req), req)
    const names = passHeaders(c, res)
    const { url } = req
    // The engine reads the URL before it returns.
    req.url = matchedUrl(url ?? '/', c.req.url)
    const handling = handled(handle, req, res)
    req.url = url
    let isHandled = false
    try {
      isHandled = await handling
    } finally {
      if (!isHandled) for (const name of names) res.removeHeader(name)
    }
    if (!isHandled) return next()
    respondedWith(c, res.statusCode)
    return undefined
  }
  return Object.assign(middleware, { proxy })
}

/**
 * The target for the backend. Hono resolves dot segments before it looks for a handler: with the bytes that came, `/secret/../api/x`
 * would pass a handler of `/api/*`.
 * @param resolved the URL as Hono has read it.
 */
function matchedUrl(received: string, resolved: string): string {
  if (!/\/(?:\.|%2e){1,2}(?:\/|$)/i.test(received.split('?', 1)[0] as string)) return received
  if (!received.startsWith('/')) return resolved
  const { pathname, search } = new URL(resolved)
  return pathname + search
}

/** Sets the headers that Hono would send on node's response. @returns their names. */
function passHeaders(c: Context, res: ServerResponse): string[] {
  const names: string[] = []
  for (const [name, value] of c.res.headers) {
    names.push(name)
    res.appendHeader(name, value)
  }
  return names
}

/** Tells Hono that the response has been sent, and its status. */
function respondedWith(c: Context, statusCode: number): void {
  const status = statusCode >= 200 && statusCode <= 599 ? statusCode : 200
  // The same as RESPONSE_ALREADY_SENT of @hono/node-server, which would have status 200 in logs.
  const response = new Response(null, { status, headers: { 'x-hono-already-sent': 'true' } })
  // @hono/node-server sends a response of its own class from its constructor's arguments, without a look at this header, until a
  // getter has made it an ordinary one.
  void response.body
  // Otherwise Hono makes a new one, of both.
  c.res = undefined
  c.res = response
}

/** The body that `c.req` has read, in the fields in which the proxy looks for it. */
async function keptBody({ bodyCache }: HonoRequest): Promise<{ body?: unknown; rawBody?: unknown }> {
  if (bodyCache.arrayBuffer !== undefined) return { rawBody: Buffer.from((await bodyCache.arrayBuffer) as ArrayBuffer) }
  if (bodyCache.blob !== undefined)
    return { rawBody: Buffer.from(await ((await bodyCache.blob) as Blob).arrayBuffer()) }
  if (bodyCache.text !== undefined) return { rawBody: await bodyCache.text }
  if (bodyCache.json !== undefined) return { body: await bodyCache.json }
  if (bodyCache.formData !== undefined) return { body: fieldsOf((await bodyCache.formData) as FormData) }
  return {}
}

function fieldsOf(form: FormData): Record<string, unknown> {
  const fields = Object.create(null) as Record<string, unknown>
  for (const name of new Set(form.keys())) {
    const values = form.getAll(name)
    fields[name] = values.length === 1 ? values[0] : values
  }
  return fields
}
