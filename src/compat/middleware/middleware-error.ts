/** An error of the middleware itself. `code` is one of http-proxy-middleware's, for which its users look. */
export class HttpProxyMiddlewareError extends Error {
  override readonly name = 'HttpProxyMiddlewareError'
  readonly code: string

  constructor(message: string, code: string, options?: ErrorOptions) {
    super(`[HPM] ${message}`, options)
    this.code = code
  }
}
