import type { Transform } from '../contracts/transform.ts'
import { cleanPrefix } from './prefix.ts'

/**
 * Puts a prefix before the path: with `/v1`, `/users?x=1` becomes `/v1/users?x=1`. `OPTIONS *` stays as it is.
 * @throws TypeError where `prefix` is not a path.
 */
export function addPrefix(prefix: string): Transform {
  const clean = cleanPrefix('addPrefix', prefix)
  return {
    name: 'add-prefix',
    request(request) {
      if (request.path.startsWith('/')) request.path = clean + request.path
    },
  }
}
