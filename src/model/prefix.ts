import { hasDotSegments, normalPath, resolveDotSegments } from './path.ts'

/** A path of visible ASCII without query, fragment or backslash. */
const PREFIX = /^\/[!$->@-[\]-~]*$/
const MALFORMED = /%(?![\da-f]{2})/gi

/** What is wrong with `prefix`, to follow its name in a message, or `null` if it is valid. */
export function prefixFault(prefix: string): string | null {
  if (!prefix.startsWith('/')) return `does not start with /${suggestion(prefix)}`
  if (!PREFIX.test(prefix)) return `has characters that are invalid in a path${suggestion(prefix)}`
  if (prefix.search(MALFORMED) >= 0) return `has an invalid percent-encoding${suggestion(prefix)}`
  if (hasDotSegments(prefix)) return `has dot segments, which are resolved in requests${suggestion(prefix)}`
  return null
}

/** Suggests the correct spelling, if there is one. */
function suggestion(prefix: string): string {
  const corrected = resolveDotSegments(escaped(prefix.startsWith('/') ? prefix : `/${prefix}`))
  return corrected !== prefix && PREFIX.test(corrected) ? `; did you mean ${JSON.stringify(corrected)}?` : ''
}

function escaped(prefix: string): string {
  const slashes = prefix.replaceAll('\\', '/').replace(MALFORMED, '%25')
  return slashes.replace(/[?#].*$/s, '').replace(/[^!-~]+|"+/g, encoded)
}

function encoded(text: string): string {
  return Array.from(Buffer.from(text), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')
}

/** `prefix` without a trailing slash, so that it ends with a whole segment. @throws TypeError if it is not a path. */
export function cleanPrefix(caller: string, prefix: string): string {
  const fault = typeof prefix === 'string' ? prefixFault(prefix) : 'is not a string'
  if (fault !== null) {
    throw new TypeError(
      `${caller}(${JSON.stringify(prefix)}): a prefix starts with "/" and has no query, such as "/api"; this one ${fault}`,
    )
  }
  return prefix.replace(/\/+$/, '')
}

/** `prefix` in the form that is compared with paths, without a trailing slash. */
export function comparablePrefix(prefix: string): string {
  return normalPath(prefix).replace(/\/+$/, '')
}
