import type { Transform } from '../contracts/transform.ts'
import { below } from '../model/path.ts'
import { cleanPrefix } from '../model/prefix.ts'
import { ADD_PREFIX } from './prefix.ts'

/**
 * Puts a prefix before the path: with `/v1`, `/users?x=1` becomes `/v1/users?x=1`, and `/` becomes `/v1/`. If `stripPrefix`
 * has reduced a path without a trailing slash to `/`, the result is `/v1`. `OPTIONS *` stays as it is.
 * @throws TypeError if `prefix` is not a path.
 */
export function addPrefix(prefix: string): Transform {
  const clean = cleanPrefix('addPrefix', prefix)
  return {
    name: ADD_PREFIX,
    request(request, { target = request.path }) {
      request.path = below(clean, request.path, target)
    },
  }
}
