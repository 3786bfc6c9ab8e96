import fs from 'node:fs'
import net from 'node:net'
import { describeError } from '../runtime/describe-error.ts'

const IS_TAKEN = 'another process listens there: stop it or choose another path'
/** How often others may replace the socket while we look at it. */
const MAX_LOOKS = 3

/**
 * Removes a unix socket on which nobody listens: a killed process leaves it there. Connecting shows whether somebody listens.
 * Nothing else is ever removed.
 * @returns `null` if the path is free now; else why it is not, and what to do.
 */
export async function freeSocket(path: string): Promise<string | null> {
  // An abstract socket (Linux) is not a file and ends with its process.
  if (path.startsWith('\0')) return IS_TAKEN
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    const before = look(path)
    if (before === null) return null
    if (typeof before === 'string') return before
    if (!before.isSocket()) return 'there is something else, which is not a socket: remove it or choose another path'
    const code = await connect(path)
    if (code === 'ENOENT') return null
    if (code === 'EACCES' || code === 'EPERM') {
      return 'there is a socket that this user may not connect to: remove it if nobody listens there, or choose another path'
    }
    if (code !== 'ECONNREFUSED') return IS_TAKEN
    // Another process may have done the same and listen there by now, with a new socket that can have the number of the old one.
    const now = look(path)
    if (now === null) return null
    if (typeof now === 'string') return now
    if (now.ino !== before.ino || now.dev !== before.dev || now.ctimeNs !== before.ctimeNs) continue
    try {
      fs.unlinkSync(path)
      return null
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      return `nobody listens on the socket that is there, but it cannot be removed (${describeError(error)}): remove it or choose another path`
    }
  }
  return IS_TAKEN
}

/** @returns `null` if nothing is there, or a hint if that cannot be found out. */
function look(path: string): fs.BigIntStats | string | null {
  try {
    return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null
  } catch (error) {
    return `what is there cannot be looked at (${describeError(error)})`
  }
}

/** @returns the error's code, or the empty string if somebody listens. */
function connect(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(path)
    socket
      .on('connect', () => {
        socket.destroy()
        resolve('')
      })
      .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'))
  })
}
