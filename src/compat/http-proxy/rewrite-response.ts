import type { OutgoingResponse } from '../../index.ts'
import { type CookieRewrite, rewriteCookie } from './cookies.ts'
import { type LocationRewrite, rewriteLocation } from './location.ts'

/** The options that change headers of responses. */
export interface ResponseRewrite extends LocationRewrite {
  readonly cookieDomainRewrite?: false | CookieRewrite | undefined
  readonly cookiePathRewrite?: false | CookieRewrite | undefined
}

/** The hosts that a redirect may name. */
export interface Hosts {
  /** Host and port of the target, as in a URL. */
  readonly target: string
  /** The host that the client has asked for; empty if unknown. */
  readonly client: string
}

export function rewritesResponses(options: ResponseRewrite): boolean {
  return rewritesLocation(options) || isRewrite(options.cookieDomainRewrite) || isRewrite(options.cookiePathRewrite)
}

/** Changes `Location` and `Set-Cookie` by the options. */
export function rewriteResponse({ status, headers }: OutgoingResponse, options: ResponseRewrite, hosts: Hosts): void {
  const location = rewritesLocation(options) ? headers.get('location') : undefined
  if (location !== undefined) headers.set('Location', rewriteLocation(location, status, hosts, options))
  const { cookieDomainRewrite: domain, cookiePathRewrite: path } = options
  if (!isRewrite(domain) && !isRewrite(path)) return
  const cookies = headers.getAll('set-cookie')
  headers.delete('set-cookie')
  for (let cookie of cookies) {
    if (isRewrite(domain)) cookie = rewriteCookie(cookie, 'domain', domain)
    if (isRewrite(path)) cookie = rewriteCookie(cookie, 'path', path)
    headers.append('Set-Cookie', cookie)
  }
}

function rewritesLocation({ hostRewrite, autoRewrite, protocolRewrite }: LocationRewrite): boolean {
  return Boolean(hostRewrite) || autoRewrite === true || Boolean(protocolRewrite)
}

function isRewrite(option: false | CookieRewrite | undefined): option is CookieRewrite {
  return typeof option === 'string' || (typeof option === 'object' && option !== null)
}
