/** The options that change where a redirect leads. */
export interface LocationRewrite {
  readonly hostRewrite?: string | undefined
  readonly autoRewrite?: boolean | undefined
  readonly protocolRewrite?: string | null | undefined
}

const REDIRECTS = new Set([201, 301, 302, 303, 307, 308])

/**
 * `Location` of a redirect to the target, with the host and protocol of the options; every other value as it is. A value without a
 * protocol (`//host/path`) gets one only by `protocolRewrite`.
 * @param hosts the target's, as in a URL, and the one that the client has asked for; empty if unknown.
 */
export function rewriteLocation(
  location: string,
  status: number,
  hosts: { readonly target: string; readonly client: string },
  { hostRewrite, autoRewrite, protocolRewrite }: LocationRewrite,
): string {
  const lacksProtocol = location.startsWith('//')
  // A value without a host leads to wherever the client is.
  const url = REDIRECTS.has(status) ? URL.parse(lacksProtocol ? `http:${location}` : location) : null
  if (url === null || url.host !== hosts.target) return location
  const host = hostRewrite || (autoRewrite === true ? hosts.client : '')
  if (host) {
    // A host without a port would keep the target's.
    url.port = ''
    url.host = host
  }
  if (protocolRewrite) url.protocol = protocolRewrite
  return lacksProtocol && !protocolRewrite ? url.href.slice(url.protocol.length) : url.href
}
