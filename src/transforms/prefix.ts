import type { Transform } from '../contracts/transform.ts'
import { hasDotSegments, normalPath, resolved } from '../model/path.ts'

/** Names of the transforms that look at paths. */
export const STRIP_PREFIX = 'strip-prefix'
/** See {@link STRIP_PREFIX}. */
export const ADD_PREFIX = 'add-prefix'

/** Whether a transform changes the path's prefix. */
export function isPrefixTransform({ name }: Transform): boolean {
  return name === STRIP_PREFIX || name === ADD_PREFIX
}

/** A path of visible ASCII without query, fragment or backslash. */
const PREFIX = /^\/[!$->@-[\]-~]*$/
const MALFORMED = /%(?![\da-f]{2})/gi

/** What is wrong with `prefix`, to follow its name, or `null` where it can stand at the start of a path. */
export function prefixFault(prefix: string): string | null {
  if (!prefix.startsWith('/')) return `does not start with /${meant(prefix)}`
  if (!PREFIX.test(prefix)) return `has characters that cannot stand in a path${meant(prefix)}`
  if (prefix.search(MALFORMED) >= 0) return `has a % that encodes nothing${meant(prefix)}`
  if (hasDotSegments(prefix)) return `has dot segments, which are resolved in requests${meant(prefix)}`
  return null
}

/** The right way to write it, where that can be told. */
function meant(prefix: string): string {
  const right = resolved(written(prefix.startsWith('/') ? prefix : `/${prefix}`))
  return right !== prefix && PREFIX.test(right) ? `; did you mean ${JSON.stringify(right)}?` : ''
}

function written(prefix: string): string {
  const slashes = prefix.replaceAll('\\', '/').replace(MALFORMED, '%25')
  return slashes.replace(/[?#].*$/s, '').replace(/[^!-~]+|"+/g, encoded)
}

function encoded(text: string): string {
  return Array.from(Buffer.from(text), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')
}

/** `prefix` without a slash at its end, so that it ends with a whole segment. @throws TypeError where it is not a path. */
export function cleanPrefix(caller: string, prefix: string): string {
  const fault = typeof prefix === 'string' ? prefixFault(prefix) : 'is not a string'
  if (fault !== null) {
    throw new TypeError(
      `${caller}(${JSON.stringify(prefix)}): a prefix starts with "/" and has no query, such as "/api"; this one ${fault}`,
    )
  }
  return prefix.replace(/\/+$/, '')
}

/** `prefix` as it is compared with paths, without a slash at its end. */
export function comparablePrefix(prefix: string): string {
  return normalPath(prefix).replace(/\/+$/, '')
}
