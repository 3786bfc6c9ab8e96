import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { statusOf } from './status.ts'
import type { Plugin } from './types.ts'

/** Responds to errors: 504, 502, 400 or 500. Ends a response that has begun, and the connection of an upgrade. */
export const errorResponsePlugin: Plugin = (proxyServer) => {
  proxyServer.on('error', (error, req, res) => {
    if (res !== undefined) respondToError(error, req, res)
  })
}

/** Sends the error response of http-proxy-middleware. */
export function respondToError(error: unknown, req: IncomingMessage, res: ServerResponse | Duplex): void {
  if (!('writeHead' in res)) return void res.destroy()
  if (res.writableEnded) return
  // A text at the end of a response that has begun would make it look complete.
  if (res.headersSent) return void res.destroy()
  for (const name of res.getHeaderNames()) if (OF_THE_BODY.has(name)) res.removeHeader(name)
  res.writeHead(statusOf((error as { code?: unknown } | null)?.code))
  res.end(`Error occurred while trying to proxy: ${escaped(req.headers.host)}${escaped(req.url)}`)
}

/** Set by somebody who meant to respond, such as a listener of `proxyRes`. */
const OF_THE_BODY: ReadonlySet<string> = new Set(['content-length', 'content-encoding', 'transfer-encoding', 'trailer'])

/** The text may be shown as HTML. */
function escaped(text = ''): string {
  return text.replace(/[<>]/g, encodeURIComponent)
}
