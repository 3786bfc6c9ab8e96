/** A path of visible ASCII without query or fragment. */
const PREFIX = /^\/[!$->@-~]*$/

/** Whether `prefix` can stand at the start of a path. */
export function isPrefix(prefix: unknown): boolean {
  return typeof prefix === 'string' && PREFIX.test(prefix)
}

/** `prefix` without a slash at its end, so that it ends with a whole segment. @throws TypeError where it is not a path. */
export function cleanPrefix(caller: string, prefix: string): string {
  if (!isPrefix(prefix)) {
    throw new TypeError(
      `${caller}(${JSON.stringify(prefix)}): a prefix starts with "/" and has no query, such as "/api"`,
    )
  }
  return prefix.replace(/\/+$/, '')
}
