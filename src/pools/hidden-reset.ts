import type { Socket } from 'node:net'
import type { Backend } from '../model/backend.ts'

const [MAJOR = 0, MINOR = 0] = process.versions.uv.split('.').map(Number)
/** libuv before 1.52, which Node 22 has, tells of a reset that comes together with bytes as the end of the input. */
const HIDES_RESETS = MAJOR === 1 && MINOR < 52

/**
 * Whether the end of the input that a socket tells of (to be asked within its 'end') is a reset: the connection then has no remote
 * address any more. What relies on the end of the connection is not whole then. The remote address must not have been asked for
 * before, since node keeps it. A unix socket never has one, and cannot be told.
 */
export function isHiddenReset(socket: Socket, backend: Backend): boolean {
  return HIDES_RESETS && backend.endpoint.socketPath === null && socket.remoteAddress === undefined
}
