import type { Interceptor } from '../contracts/interceptor.ts'
import { isHost } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import { checkKeys, optionError } from './option-checks.ts'
import { askedHost, clientPaths, isOwnAddress, type PrefixChange, protocolOf } from './own-address.ts'
import { wrapSink } from './wrap-sink.ts'

/** Options of {@link rewriteLocation}. */
export interface RewriteLocationOptions {
  /** The host, with its port unless that is the default one, such as `www.example.com`. Default: `Host` of the request. */
  host?: string | undefined
  /**
   * Default: the client's protocol, but `https` stays if the backend itself is asked over `http`: it sends clients to TLS.
   */
  protocol?: 'http' | 'https' | undefined
  /**
   * Prefix that the route removes from paths (`stripPrefix`), and that goes before those of the backend. If the route also adds one
   * (`addPrefix`), `{ from: '/added', to: '/removed' }`. The path of the backend's URL is removed by default.
   */
  prefix?: string | PrefixChange | undefined
}

const NAME = 'rewrite-location'

/** A URL with a host: scheme, user with `@`, host with port, and the rest. A backslash in the host would be a slash to browsers. */
const WITH_HOST = /^(?:(https?):)?\/\/([^\s/?#\\]*@)?([^\s/?#@\\]+)((?:[/?#].*)?)$/i
/** What precedes the URL of a `Refresh` header, and the URL in one of three spellings. */
const REFRESH = /^(\s*[\d.]+\s*[;,]\s*url\s*=\s*)(?:"([^"]*)"|'([^']*)'|([^"'].*))$/i
/** Browsers drop tabs, and read a backslash as a slash: such a path may lead to another host. */
const UNCERTAIN = /[\t\\]/

/**
 * Rewrites what a backend says about its own address, so that clients come back to the proxy: `Location`, `Content-Location`, and the
 * URL of `Refresh`. A URL is rewritten if it points to the backend's own address, or to the `Host` that the backend was sent; of a
 * path without a host only the prefix is. All others, malformed ones and those relative to the current path stay as they are.
 *
 * The default host is what the client has sent. If responses are cached for other clients, give `host`.
 *
 * Like nginx's `proxy_redirect` and Apache's `ProxyPassReverse`.
 * @throws TypeError if an option is wrong.
 */
export function rewriteLocation(options: RewriteLocationOptions = {}): Interceptor {
  checkKeys(NAME, options, ['host', 'protocol', 'prefix'])
  const { host, protocol } = options
  if (host !== undefined && !(typeof host === 'string' && isHost(host)))
    throw optionError(NAME, 'host', host, 'a host with or without a port, such as "www.example.com:8080"')
  if (protocol !== undefined && protocol !== 'http' && protocol !== 'https')
    throw optionError(NAME, 'protocol', protocol, '"http" or "https"')
  const clientPath = clientPaths(NAME, options.prefix)

  const rewritten = (text: string, exchange: ExchangeView, backend: Backend, asked: string): string => {
    const found = WITH_HOST.exec(text)
    if (found === null) return isPath(text) ? (reference(text, clientPath, backend) ?? text) : text
    const [, scheme, user = '', authority = '', rest = ''] = found
    const url = URL.parse(`${scheme ?? protocolOf(backend).slice(0, -1)}://${authority}`)
    const shownHost = host ?? exchange.host
    if (url === null || shownHost === '' || !isOwnAddress(url, backend, asked)) return text
    const isUpgrade = url.protocol === 'https:' && protocolOf(backend) === 'http:'
    const shownProtocol = protocol ?? (isUpgrade ? 'https' : exchange.protocol)
    // Without a scheme it is the one of the page, which is right unless the options name another.
    const start = scheme === undefined && protocol === undefined ? '//' : `${shownProtocol}://`
    return start + user + shownHost + (reference(rest, clientPath, backend) ?? rest)
  }

  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) => {
      const onHead: typeof sink.onHead = (head, flow) => {
        const { backend } = exchange
        if (backend !== null) {
          const asked = askedHost(request)
          const { headers } = head
          for (let i = 0; i < headers.length; i += 2) {
            const value = headers[i + 1] as string
            switch (headers[i]?.toLowerCase()) {
              case 'location':
              case 'content-location':
                headers[i + 1] = rewritten(value, exchange, backend, asked)
                break
              case 'refresh':
                headers[i + 1] = value.replace(REFRESH, (_, start: string, ...urls: (string | undefined)[]) => {
                  const [double, single, plain = ''] = urls
                  const quote = double !== undefined ? '"' : single !== undefined ? "'" : ''
                  return start + quote + rewritten(double ?? single ?? plain, exchange, backend, asked) + quote
                })
            }
          }
        }
        sink.onHead(head, flow)
      }
      next(exchange, request, body, wrapSink(sink, { onHead }))
    },
  }
}

/** Whether it is a path from the root, without a host, however it is read. */
function isPath(text: string): boolean {
  return text.startsWith('/') && !text.startsWith('//') && !UNCERTAIN.test(text)
}

/** The client's path, with query and fragment, or `null` if it must not be changed. @param text may lack the path. */
function reference(text: string, clientPath: ReturnType<typeof clientPaths>, backend: Backend): string | null {
  const hash = text.indexOf('#')
  const target = hash < 0 ? text : text.slice(0, hash)
  const path = clientPath(target.startsWith('/') ? target : `/${target}`, backend)
  // A path that begins with two slashes would be a host.
  if (path === null || path.startsWith('//') || path === `/${target}`) return null
  return hash < 0 ? path : path + text.slice(hash)
}
