import { withoutPassword } from '../runtime/secrets.ts'
import { resolveDotSegments } from './path.ts'

/** A parsed backend URL. */
export interface BackendUrl {
  readonly url: URL
  /** Path of a unix socket, or `null`. */
  readonly socketPath: string | null
  /** Path that goes before each request's path; empty or `/without/trailing/slash`. */
  readonly basePath: string
}

const UNIX = /^http\+unix:\/\/(\/[^:]+)(?::(\/[^\s?#\\]*))?$/

/** The URL that is probably meant by `localhost:3001`, `[::1]:3001/path`, `:3001` or `3001`; `null` for any other text. */
export function likelyBackendUrl(text: string): string | null {
  const [, host, rest] = /^(?:([\w.-]+|\[[\da-f:.]+\])?:)?(\d{1,5}(?:\/\S*)?)$/i.exec(text) ?? []
  return rest === undefined ? null : `http://${host || 'localhost'}:${rest}`
}

/** @throws TypeError if `text` is not a backend URL. */
export function parseBackendUrl(text: string): BackendUrl {
  const url = URL.parse(text)
  const unix = url?.protocol === 'http+unix:' ? UNIX.exec(text) : null
  if (unix?.[1] !== undefined && url !== null) {
    return { url, socketPath: decodeURIComponent(unix[1]), basePath: trimSlash(resolveDotSegments(unix[2] ?? '')) }
  }
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    const likely = likelyBackendUrl(text)
    const shown = withoutPassword(JSON.stringify(text))
    throw new TypeError(
      likely === null
        ? `${shown} is not a backend URL; use http://host:port, https://host:port or http+unix:///path/to.sock`
        : `${shown} is not a backend URL: it has no http:// or https://; did you mean ${likely}?`,
    )
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new TypeError(
      `${JSON.stringify(`${url.protocol}//${url.host}`)}: a backend URL has no user, password, query or fragment; use http://host:port/prefix`,
    )
  }
  return { url, socketPath: null, basePath: trimSlash(url.pathname) }
}

/** Removes trailing slashes, since the path of a request starts with one. */
function trimSlash(path: string): string {
  return path.replace(/\/+$/, '')
}
