import type { Transform } from '../contracts/transform.ts'
import { cleanPrefix } from './prefix.ts'

/**
 * Removes a path prefix in whole segments before the request is sent: with `/api`, `/api/users?x=1` becomes `/users?x=1`
 * and `/api?x=1` becomes `/?x=1`; `/apix` and a path without the prefix stay as they are.
 * @throws TypeError where `prefix` is not a path.
 */
export function stripPrefix(prefix: string): Transform {
  const clean = cleanPrefix('stripPrefix', prefix)
  return {
    name: 'strip-prefix',
    request(request) {
      const { path } = request
      if (!path.startsWith(clean)) return
      const rest = path.slice(clean.length)
      if (rest.startsWith('/')) request.path = rest
      else if (rest === '' || rest.startsWith('?')) request.path = `/${rest}`
    },
  }
}
