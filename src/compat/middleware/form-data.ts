import { HttpProxyMiddlewareError } from './middleware-error.ts'
import { INVALID_MULTIPART } from './status.ts'

/** RFC 2046, section 5.1.1: 1 to 70 characters, the last one not a space. */
const BOUNDARY = /^[\w'()+,\-./:=? ]{0,69}[\w'()+,\-./:=?]$/

/**
 * Writes fields as `multipart/form-data` (RFC 7578).
 * @param contentType of the request: it has the boundary.
 * @throws {@link HttpProxyMiddlewareError} without a valid boundary, and for a name or value that could end its part: it would let a
 * client smuggle in a field that the application has not seen.
 */
export function writeFormData(contentType: string, fields: object): string {
  const [, quoted, plain] = /(?:^|;)\s*boundary=(?:"([^"]+)"|([^;\s]+))\s*(?=;|$)/i.exec(contentType) ?? []
  const boundary = quoted ?? plain ?? ''
  if (!BOUNDARY.test(boundary)) throw invalid('boundary', 'BOUNDARY')
  let text = ''
  for (const [name, given] of Object.entries(fields)) {
    const value = String(given)
    if (/[\r\n]/.test(name)) throw invalid(`field name ${JSON.stringify(name)}`, 'FIELD_NAME')
    if (/[\r\n]/.test(value) || value.includes(`--${boundary}`))
      throw invalid(`field value for "${name}"`, 'FIELD_VALUE')
    const escaped = name.replace(/["\\]/g, '\\$&')
    text += `--${boundary}\r\nContent-Disposition: form-data; name="${escaped}"\r\n\r\n${value}\r\n`
  }
  return `${text}--${boundary}--\r\n`
}

function invalid(what: string, code: string): HttpProxyMiddlewareError {
  return new HttpProxyMiddlewareError(`invalid multipart ${what} detected.`, INVALID_MULTIPART + code)
}
