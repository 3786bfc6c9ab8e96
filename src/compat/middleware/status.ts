const TIMEOUTS: ReadonlySet<unknown> = new Set(['ECONNRESET', 'ENOTFOUND', 'ECONNREFUSED', 'ETIMEDOUT'])

/** The status of an error response, by the error's code: as http-proxy-middleware has it, a backend that is not there is 504. */
export function statusOf(code: unknown): number {
  if (TIMEOUTS.has(code)) return 504
  if (typeof code !== 'string') return 500
  if (code.startsWith('HPE_INVALID') || code === UNDECODABLE) return 502
  return code.startsWith(INVALID_MULTIPART) ? 400 : 500
}

/** Code of an error: a body cannot be decoded as its Content-Encoding says. */
export const UNDECODABLE = 'HPM_ERR_CONTENT_ENCODING'

/** Prefix of the codes of errors: `req.body` cannot be written as the multipart form that it was. */
export const INVALID_MULTIPART = 'HPM_ERR_INVALID_MULTIPART_'
