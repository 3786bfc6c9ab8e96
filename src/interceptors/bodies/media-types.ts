import { memberError, optionError } from '../option-checks.ts'

/** Decides about the value of a Content-Type. */
export type MediaTypeMatcher = (contentType: string | undefined) => boolean

const PATTERN = /^(?:\*\/\*|[\w!#$&^.+-]+\/(?:\*(?:\+[\w.-]+)?|[\w!#$&^.+-]+))$/

/** Never ends, and so cannot be collected; held back, its events come late. */
const EVENT_STREAM = 'text/event-stream'

/**
 * Compiles a list of media types: `text/html`, `text/*` or `application/*+json`. Parameters and case do not matter. No pattern
 * with `*` matches `text/event-stream`.
 * @param name of the interceptor. @param option its name.
 * @throws TypeError if it is not such a list.
 */
export function mediaTypes(list: readonly string[], name: string, option: string): MediaTypeMatcher {
  if (!Array.isArray(list)) throw optionError(name, option, list, `a list, such as ['text/*']`)
  const exact = new Set<string>()
  const ranges: { readonly start: string; readonly end: string }[] = []
  for (const one of list as unknown[]) {
    if (typeof one !== 'string' || !PATTERN.test(one)) {
      throw memberError(name, option, one, `a media type, such as 'text/html', 'text/*' or 'application/*+json'`)
    }
    const [type = '', subtype = ''] = one.toLowerCase().split('/')
    const start = type === '*' ? '' : `${type}/`
    if (subtype.startsWith('*')) ranges.push({ start, end: subtype.slice(1) })
    else exact.add(`${type}/${subtype}`)
  }
  return (contentType) => {
    const essence = essenceOf(contentType)
    if (exact.has(essence)) return true
    if (essence === EVENT_STREAM) return false
    for (const { start, end } of ranges) if (essence.startsWith(start) && essence.endsWith(end)) return true
    return false
  }
}

/** The type and subtype, in lower case. A response without a type has that of any bytes (RFC 9110 section 8.3). */
function essenceOf(contentType = 'application/octet-stream'): string {
  const end = contentType.indexOf(';')
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}
