import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'

/** Sends a response of our own for a failure. One that has begun is truncated, so that the client notices. */
export function respondWith(res: ServerResponse, error: Error, status: number): void {
  if (res.writableEnded || res.destroyed) return
  if (res.headersSent) return void res.destroy()
  const text = textOf(error, status)
  res.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': text.length,
    'Cache-Control': 'no-store',
  })
  res.end(text)
}

/** The same on the connection of a WebSocket that has no response yet; the connection ends. */
export function refuseUpgrade(socket: Duplex, error: Error, status: number): void {
  if (!socket.writable) return
  const text = textOf(error, status)
  socket.write(
    `HTTP/1.1 ${status} ${reasonOf(status)}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Cache-Control: no-store\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
  )
  endSoon(socket)
}

/** Ends the connection once what was written has been sent. */
export function endSoon(socket: Duplex): void {
  if (socket.writableFinished) socket.destroy()
  else socket.once('finish', () => socket.destroy()).end()
}

/** The code, and nothing that tells of the target. */
function textOf(error: Error, status: number): string {
  const { code } = error as NodeJS.ErrnoException
  return `${status} ${reasonOf(status)}${typeof code === 'string' && /^\w+$/.test(code) ? ` (${code})` : ''}\n`
}

function reasonOf(status: number): string {
  return STATUS_CODES[status] ?? 'Error'
}
