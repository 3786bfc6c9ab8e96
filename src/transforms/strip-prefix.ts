import type { Transform } from '../contracts/transform.ts'
import { afterPrefix } from '../model/path.ts'
import { cleanPrefix, comparablePrefix } from '../model/prefix.ts'
import { STRIP_PREFIX } from './prefix.ts'

/**
 * Removes a path prefix in whole segments before the request is sent: with `/api`, `/api/users?x=1` becomes `/users?x=1`
 * and `/api?x=1` becomes `/?x=1`; `/apix` and a path without the prefix stay as they are. Other spellings of the prefix
 * (`/%61pi`, `//api`) are removed too; the rest keeps its bytes.
 * @throws TypeError if `prefix` is not a path.
 */
export function stripPrefix(prefix: string): Transform {
  const clean = comparablePrefix(cleanPrefix('stripPrefix', prefix))
  return {
    name: STRIP_PREFIX,
    request(request) {
      const rest = afterPrefix(request.path, clean)
      if (rest !== null) request.path = rest.startsWith('/') ? rest : `/${rest}`
    },
  }
}
