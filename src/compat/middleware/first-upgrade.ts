import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { isOnlyForProxies } from './takes-upgrades.ts'

/**
 * Whether a request asks for a WebSocket, and node has read it as an ordinary request because nobody listened to upgrades yet. So it
 * is with the first one that a server gets, unless an ordinary request has come before.
 */
export function isFirstUpgrade(req: IncomingMessage): boolean {
  const { upgrade = '', connection = '' } = req.headers
  return (
    req.method === 'GET' &&
    req.httpVersion === '1.1' &&
    upgrade.toLowerCase() === 'websocket' &&
    /(?:^|,)\s*upgrade\s*(?:,|$)/i.test(connection) &&
    // Another middleware may have begun to listen when it saw this request. An application that listens has not wanted the upgrade.
    isOnlyForProxies(req)
  )
}

/**
 * Takes the connection of such a request from node's HTTP server, as node does for an upgrade: its parser reads no more, and its
 * response writes no more. It uses what node does not document: `detachSocket()`, `parser.remove()`, and that listening to
 * `data` stops the parser.
 * @returns `null` if that is not possible any more.
 */
export async function takeConnection(req: IncomingMessage, res: ServerResponse): Promise<Duplex | null> {
  // The parser is in the middle of this request.
  await new Promise((resolve) => setImmediate(resolve))
  const { socket } = req
  if (res.socket !== socket || res.headersSent || socket.destroyed || typeof res.detachSocket !== 'function')
    return null
  socket.on('data', () => {}).removeAllListeners('data')
  res.detachSocket(socket)
  // Of no use to the server any more: its close() would end an idle connection.
  ;(socket as { parser?: { remove?(): void } }).parser?.remove?.()
  return socket
}
