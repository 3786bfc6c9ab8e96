import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { HeaderView } from '../../index.ts'
import type { HeaderEdits } from './outgoing-request.ts'
import type { Destination } from './target.ts'
import type { NormalizedServerOptions } from './types.ts'

/** Headers that only the proxy writes: they belong to the connection, or frame the body. */
const OURS = new Set([
  'connection',
  'content-length',
  'expect',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
])

/** What the engine does not pass on by itself; see {@link optionEdits}. */
const FORWARDED = ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto'] as const

/**
 * What the options, and `req.headers`, change in the headers that are sent.
 * @returns `null` for nothing.
 */
export function optionEdits(
  req: IncomingMessage,
  { headers, auth, changeOrigin }: NormalizedServerOptions,
  { host }: Destination,
): HeaderEdits | null {
  let edits: HeaderEdits | null = null
  // http-proxy passes on those of the client, with and without `xfwd`; the engine drops them.
  for (const name of FORWARDED) {
    const value = req.headers[name]
    if (value !== undefined) edits = put(edits, name, value)
  }
  // It announces trailers, which only a body in chunks can have.
  if (req.headers.trailer !== undefined && req.headers['transfer-encoding'] === undefined) {
    edits = put(edits, 'Trailer', undefined)
  }
  if (headers !== undefined) for (const [name, value] of Object.entries(headers)) edits = put(edits, name, value)
  if (auth) edits = put(edits, 'Authorization', `Basic ${Buffer.from(auth).toString('base64')}`)
  // Otherwise the engine does it.
  if (changeOrigin === true && edits !== null) edits = put(edits, 'Host', host)
  return edits
}

function put(edits: HeaderEdits | null, name: string, value: unknown): HeaderEdits {
  return (edits ?? new Map()).set(name.toLowerCase(), { name, value: headerText(value) })
}

/** Sets a header, or removes it (`undefined`). Those that only the proxy writes stay as they are. @throws TypeError if it is invalid. */
export function editHeader(headers: HeaderView, name: string, value: string | readonly string[] | undefined): void {
  if (OURS.has(name.toLowerCase())) return
  if (value === undefined) headers.delete(name)
  else if (typeof value === 'string') headers.set(name, value)
  else {
    headers.delete(name)
    for (const one of value) headers.append(name, one)
  }
}

/** What applications set, which may be numbers. */
export function headerText(value: unknown): string | string[] | undefined {
  if (value === undefined || value === null) return undefined
  return Array.isArray(value) ? value.map(String) : String(value)
}

/**
 * `xfwd`: appends to the X-Forwarded-* of the client, in `req.headers`, as http-proxy does. It believes what the client has sent.
 * @param isSocket for a WebSocket: `ws`, not `http`.
 */
export function addForwarded(
  req: IncomingMessage,
  { xfwd, xfwdWsProtoAsHttp }: NormalizedServerOptions,
  isSocket: boolean,
): void {
  if (xfwd !== true) return
  const { headers, socket } = req
  const isSecure = (socket as Partial<TLSSocket>).encrypted === true
  const protocol = isSocket && xfwdWsProtoAsHttp !== true ? 'ws' : 'http'
  const host = String(headers[':authority'] ?? headers.host ?? '')
  const append = (name: string, value: string): void => {
    if (value === '') return
    const before = headers[name]
    headers[name] = before === undefined || before === '' ? value : `${before},${value}`
  }
  append('x-forwarded-for', socket.remoteAddress ?? '')
  append('x-forwarded-port', /:(\d+)$/.exec(host)?.[1] ?? (isSecure ? '443' : '80'))
  append('x-forwarded-proto', isSecure ? `${protocol}s` : protocol)
  if (host !== '') headers['x-forwarded-host'] ||= host
}
