import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { addForwarded } from './request-headers.ts'
import type { NormalizedServerOptions } from './types.ts'

/** A step of a call, with the arguments of http-proxy-3. A truthy result ends the call: the pass has responded. */
export type Pass<Client, Server> = (
  req: IncomingMessage,
  res: Client,
  options: NormalizedServerOptions,
  head: Buffer | undefined,
  server: Server,
  callback?: (error: Error, ...more: never[]) => unknown,
) => unknown

type Plain<Client> = Pass<Client, unknown>

/** Kept for its name: the proxy frames the body by itself. */
const deleteLength: Plain<ServerResponse> = () => {}

const timeout: Plain<ServerResponse> = (req, _res, { timeout: ms }) => {
  if (ms) req.socket.setTimeout(ms)
}

const XHeaders: Plain<ServerResponse> = (req, _res, options) => addForwarded(req, options, false)

/** Only WebSockets are upgraded. */
const checkMethodAndHeader: Plain<Duplex> = ({ method, headers }, socket) => {
  if (method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket') return false
  socket.destroy()
  return true
}

/** The steps before the last one, `stream`, which carries the request. */
export const WEB_PASSES = { deleteLength, timeout, XHeaders }
export const WS_PASSES = {
  checkMethodAndHeader,
  XHeaders: ((req, _socket, options) => addForwarded(req, options, true)) satisfies Plain<Duplex>,
}

/** Puts a pass before the last one of this name. @throws Error if there is none. */
export function insertPass(passes: { readonly name: string }[], name: string, pass: { readonly name: string }): void {
  const at = passes.findLastIndex((one) => one.name === name)
  if (at < 0) throw new Error(`No such pass: ${name}; use ${passes.map((one) => one.name).join(', ')}`)
  passes.splice(at, 0, pass)
}
