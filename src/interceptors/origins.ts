import { memberError, optionError, stringList } from './option-checks.ts'

/** `scheme://`, and what follows up to a path. */
const ORIGIN = /^[a-z][a-z\d+.-]*:\/\/(\*\.)?[^\s/?#@*\\]+$/
/** What may stand for the `*` of a pattern. */
const LABELS = /^[a-z\d-]+(?:\.[a-z\d-]+)*$/

/**
 * Compiles a list of origins, which may have patterns for subdomains (`https://*.app.example`), or `*` for all.
 * @param name of the interceptor. @param option its name. @param credentials whether pages of these origins act as the user.
 * @throws TypeError for anything else, and for what any site could claim to be if there are credentials.
 */
export function originMatcher(
  name: string,
  option: string,
  origins: unknown,
  credentials: boolean,
): (origin: string) => boolean {
  const example = "a list such as ['https://app.example']"
  const unsafe = 'other origins: with credentials: true it would let every site act as the user'
  if (origins === '*') {
    if (!credentials) return () => true
    throw optionError(name, option, origins, unsafe)
  }
  if (!Array.isArray(origins) || origins.length === 0) throw optionError(name, option, origins, `'*' or ${example}`)
  const list = stringList(name, option, origins, "['https://app.example']")
  const exact = new Set<string>()
  const patterns: { readonly start: string; readonly end: string }[] = []
  for (const origin of list) {
    if (origin === 'null' && credentials) throw memberError(name, option, origin, unsafe)
    const found = origin === 'null' ? [] : ORIGIN.exec(origin)
    if (found === null || !isSerialized(origin))
      throw memberError(name, option, origin, `origins as browsers send them, in ${example}`)
    if (found[1] === undefined) exact.add(origin)
    else {
      const star = origin.indexOf('*')
      patterns.push({ start: origin.slice(0, star), end: origin.slice(star + 1) })
    }
  }
  return (origin) =>
    exact.has(origin) ||
    patterns.some(
      ({ start, end }) =>
        origin.length > start.length + end.length &&
        origin.startsWith(start) &&
        origin.endsWith(end) &&
        LABELS.test(origin.slice(start.length, -end.length)),
    )
}

/** Whether browsers write the origin in this way: in lower case, without the scheme's own port. */
function isSerialized(origin: string): boolean {
  if (!/^https?:/.test(origin)) return true
  return URL.parse(origin.replace('*', 'a'))?.origin === origin.replace('*', 'a')
}
