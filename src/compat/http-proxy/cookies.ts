/** A new value for all cookies (empty: remove the attribute), or by the old value, with `*` for any other. */
export type CookieRewrite = string | Readonly<Record<string, string>>

const ATTRIBUTES = {
  domain: /(;\s*domain=)([^;]+)/i,
  path: /(;\s*path=)([^;]+)/i,
}

/** A `Set-Cookie` value with another domain or path. A value that no rule names stays. */
export function rewriteCookie(cookie: string, attribute: keyof typeof ATTRIBUTES, rewrite: CookieRewrite): string {
  return cookie.replace(ATTRIBUTES[attribute], (whole: string, start: string, before: string) => {
    const after = typeof rewrite === 'string' ? rewrite : (own(rewrite, before) ?? own(rewrite, '*'))
    if (after === undefined) return whole
    return after === '' ? '' : start + after
  })
}

/** A cookie may be named after a property of all objects. */
function own(rules: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(rules, name) ? (rules[name] ?? '') : undefined
}
