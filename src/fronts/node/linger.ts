import type { Duplex } from 'node:stream'
import type { Clock } from '../../runtime/clock.ts'

/** How long a finished connection may wait for the other end to notice and close, ms. */
const LINGER_MS = 2_000

/**
 * Ends a connection after its last response, reads and drops further bytes: closing with unread bytes would take the response away
 * from the client (RFC 9112 section 9.6).
 */
export function linger(stream: Duplex, clock: Clock): void {
  stream.end()
  stream.on(
    'close',
    clock.schedule(LINGER_MS, () => stream.destroy()),
  )
}
