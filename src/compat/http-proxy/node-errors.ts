import { ProxyError } from '../../index.ts'

/** The fields of node's errors. */
type Details = Pick<NodeJS.ErrnoException, 'code' | 'errno' | 'syscall'> & Record<string, unknown>

const DETAILS = ['code', 'errno', 'syscall', 'address', 'port', 'hostname', 'errors', 'reason', 'host', 'cert'] as const

/**
 * The error that node's client would have given: http-proxy's applications look for its `code`. Its `cause` is the
 * {@link ProxyError}. What a listener or a callback of the application threw is returned as it is.
 */
export function nodeError(error: ProxyError): Error {
  const { cause } = error
  if (error.code === 'ERR_PROXY_HOOK' && cause instanceof Error) return cause
  if (cause instanceof Error && typeof (cause as Details & Error).code === 'string' && !(cause instanceof ProxyError)) {
    return withDetails(cause.message === '' ? error.message : cause.message, detailsOf(cause), error)
  }
  switch (error.code) {
    case 'ERR_PROXY_RESET':
    case 'ERR_PROXY_CLIENT_GONE':
    case 'ERR_PROXY_HEADERS_TIMEOUT':
    case 'ERR_PROXY_IDLE_TIMEOUT':
      return withDetails('socket hang up', { code: 'ECONNRESET' }, error)
    case 'ERR_PROXY_TRUNCATED':
      return withDetails('aborted', { code: 'ECONNRESET' }, error)
    case 'ERR_PROXY_CONNECT_TIMEOUT':
      return withDetails('ECONNECT_TIMEOUT', { code: 'ECONNECT_TIMEOUT' }, error)
    case 'ERR_PROXY_BAD_RESPONSE':
      return withDetails(`Parse Error: ${error.message}`, { code: 'HPE_INVALID_CONSTANT' }, error)
    default:
      return withDetails(error.message, { code: error.code }, error)
  }
}

/** What node's client says if the application itself has destroyed a request. */
export function hangUp(): Error {
  return Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })
}

function detailsOf(cause: Error): Details {
  const details: Record<string, unknown> = {}
  for (const name of DETAILS) {
    const value: unknown = (cause as unknown as Record<string, unknown>)[name]
    if (value !== undefined) details[name] = value
  }
  return details
}

function withDetails(message: string, details: Details, cause: ProxyError): Error {
  return Object.assign(new Error(message, { cause }), details)
}
