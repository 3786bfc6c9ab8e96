import type { Duplex } from 'node:stream'

let open = 0

/** Counts a connection of a WebSocket until it closes. */
export function countOpen(stream: Duplex): void {
  if (stream.closed) return
  open++
  stream.once('close', () => open--)
}

/** Open connections of WebSockets of this process, on both sides. */
export function numOpenSockets(): number {
  return open
}
