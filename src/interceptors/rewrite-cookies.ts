import type { Interceptor } from '../contracts/interceptor.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import { prefixFault } from '../model/prefix.ts'
import { checkKeys, isObject, optionError } from './option-checks.ts'
import { wrapSink } from './wrap-sink.ts'

/** Options of {@link rewriteCookies}. Without an option its attribute stays as it is. */
export interface RewriteCookiesOptions {
  /**
   * The domain to write in place of any other, or a table by domain, in which `*` is for all others. An empty string removes the
   * attribute: the cookie then belongs to the host that the client asked. A cookie without a domain gets none.
   */
  domain?: string | Readonly<Record<string, string>> | undefined
  /**
   * The path to write in place of any other, or a table by path, in which `*` is for all others. A key also stands for the paths below
   * it, which keep their rest: `{ '/app': '/shop' }` makes `/shop/cart` of `/app/cart`; the longest key wins. An empty string removes the
   * attribute: the cookie then belongs to the folder of the path that the client asked for.
   */
  path?: string | Readonly<Record<string, string>> | undefined
  /**
   * `true` adds `Secure`: clients without TLS then ignore the cookie. `false` removes it, and with it `SameSite=None` and `Partitioned`,
   * because browsers ignore cookies that have them without `Secure`. Danger: the cookie may then travel unencrypted.
   */
  secure?: boolean | undefined
  /** Sets `SameSite`; `'none'` also adds `Secure`, because browsers demand it. `false` removes the attribute. */
  sameSite?: 'strict' | 'lax' | 'none' | false | undefined
}

const NAME = 'rewrite-cookies'
const SAME_SITES = { strict: 'Strict', lax: 'Lax', none: 'None' } as const
const ANY = '*'

/** A new value by an old one; `undefined`: no change. */
type Change = (value: string) => string | undefined

/**
 * Rewrites attributes of the cookies that backends set (`Set-Cookie`; RFC 6265): the domain and path that only the backend's own address
 * has, `Secure` and `SameSite`. Names and values stay as they are. Cookies whose name promises something to browsers keep what it
 * promises: `__Secure-` and `__Http-` keep `Secure`; `__Host-` also keeps `Path=/` and gets no domain.
 * @throws TypeError if an option is wrong.
 */
export function rewriteCookies(options: RewriteCookiesOptions): Interceptor {
  checkKeys(NAME, options, ['domain', 'path', 'secure', 'sameSite'])
  const { secure, sameSite } = options
  if (secure !== undefined && typeof secure !== 'boolean') throw optionError(NAME, 'secure', secure, 'true or false')
  if (sameSite !== undefined && sameSite !== false && !Object.hasOwn(SAME_SITES, sameSite))
    throw optionError(NAME, 'sameSite', sameSite, '"strict", "lax", "none" or false')
  if (sameSite === 'none' && secure === false)
    throw optionError(NAME, 'secure', secure, 'true, or another sameSite: browsers ignore SameSite=None without Secure')
  const newDomain = domains(options.domain)
  const newPath = paths(options.path)

  const rewritten = (cookie: string): string => {
    const [pair = '', ...attributes] = cookie.split(';')
    const { isBound, isForTls } = promiseOf(pair)
    const losesSecure = secure === false && !isForTls
    const kept = [pair]
    let isSecure = false
    let hasSameSite = false
    for (const attribute of attributes) {
      const [label = '', value = ''] = attribute.split(/=(.*)/s, 2)
      const text = value.trim()
      switch (label.trim().toLowerCase()) {
        case 'domain':
          change(kept, attribute, label, text === '' || isBound ? undefined : newDomain(text))
          break
        case 'path':
          change(kept, attribute, label, !text.startsWith('/') || isBound ? undefined : newPath(text))
          break
        case 'secure':
          isSecure = true
          if (!losesSecure) kept.push(attribute)
          break
        case 'partitioned':
          if (!losesSecure) kept.push(attribute)
          break
        case 'samesite': {
          const isLost = sameSite === undefined && losesSecure && text.toLowerCase() === 'none'
          if (sameSite === undefined && !isLost) kept.push(attribute)
          else if (typeof sameSite === 'string' && !hasSameSite) kept.push(`${label}=${SAME_SITES[sameSite]}`)
          hasSameSite = true
          break
        }
        default:
          kept.push(attribute)
      }
    }
    if (typeof sameSite === 'string' && !hasSameSite) kept.push(` SameSite=${SAME_SITES[sameSite]}`)
    if (!isSecure && (secure === true || sameSite === 'none')) kept.push(' Secure')
    return kept.join(';')
  }

  const rewrite = ({ headers }: ResponseHead): void => rewriteEach(headers, rewritten)
  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) => {
      const changed = wrapSink(sink, {
        onHead(head, flow) {
          rewrite(head)
          sink.onHead(head, flow)
        },
        onUpgrade(head, stream, rest) {
          rewrite(head)
          sink.onUpgrade(head, stream, rest)
        },
      })
      next(exchange, request, body, changed)
    },
  }
}

function rewriteEach(headers: HeaderList, rewritten: (cookie: string) => string): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]?.toLowerCase() === 'set-cookie') headers[i + 1] = rewritten(headers[i + 1] as string)
  }
}

/** What the name of a cookie promises (RFC 6265bis section 4.1.3); browsers ignore a cookie that does not keep it. */
function promiseOf(pair: string): { isBound: boolean; isForTls: boolean } {
  const name = pair.trim().toLowerCase()
  const isBound = name.startsWith('__host-')
  return { isBound, isForTls: isBound || name.startsWith('__secure-') || name.startsWith('__http-') }
}

/** Keeps an attribute, with the new value if there is one; an empty one removes it. */
function change(kept: string[], attribute: string, label: string, value: string | undefined): void {
  if (value === undefined) kept.push(attribute)
  else if (value !== '') kept.push(`${label}=${value}`)
}

function domains(option: RewriteCookiesOptions['domain']): Change {
  const table = tableOf('domain', option, (domain) => /^[\w.:[\]-]*$/.test(domain), 'a domain, such as "example.com"')
  const byDomain = new Map(table.map(([key, value]) => [plainDomain(key), value]))
  return (domain) => byDomain.get(plainDomain(domain)) ?? byDomain.get(ANY)
}

/** The domain as browsers compare it (RFC 6265 section 5.2.3). */
function plainDomain(domain: string): string {
  return (domain.startsWith('.') ? domain.slice(1) : domain).toLowerCase()
}

function paths(option: RewriteCookiesOptions['path']): Change {
  const isPath = (path: string): boolean => path === '' || (prefixFault(path) === null && !path.includes(';'))
  const table = tableOf('path', option, isPath, 'a path, such as "/" or "/app"')
  const fallback = new Map(table).get(ANY)
  const folders = table
    .filter(([key]) => key !== ANY)
    .map(([key, value]) => ({ key, folder: withoutSlash(key), value }))
    .sort((one, other) => other.folder.length - one.folder.length)
  return (path) => {
    for (const { key, folder, value } of folders) {
      if (path === key || path === folder) return value
      if (path.startsWith(`${folder}/`)) return value === '' ? '' : withoutSlash(value) + path.slice(folder.length)
    }
    return fallback
  }
}

function withoutSlash(path: string): string {
  return path.replace(/\/+$/, '')
}

/** The entries of the table that an option is short for. @throws TypeError if one is wrong. */
function tableOf(
  option: string,
  value: unknown,
  isValid: (text: string) => boolean,
  allowed: string,
): [key: string, value: string][] {
  if (value === undefined) return []
  const table = typeof value === 'string' ? { [ANY]: value } : value
  if (!isObject(table)) throw optionError(NAME, option, value, `${allowed}, or a table of them`)
  return Object.entries(table).map(([key, text]) => {
    if (key === '' || (key !== ANY && !isValid(key)))
      throw optionError(NAME, `a key of ${option}`, key, `${allowed}, or "*"`)
    if (typeof text !== 'string' || !isValid(text))
      throw optionError(NAME, `${option}[${JSON.stringify(key)}]`, text, `${allowed}, or "" to remove it`)
    return [key, text]
  })
}
