export { createProxyMiddleware, legacyCreateProxyMiddleware } from './create-proxy-middleware.ts'
export { errorResponsePlugin } from './error-response.ts'
export { type BodyParserLikeRequest, fixRequestBody } from './fix-request-body.ts'
export { loggerPlugin } from './log-events.ts'
export { debugProxyErrorsPlugin, definePlugin } from './plugins.ts'
export { proxyEventsPlugin } from './proxy-events.ts'
export { responseInterceptor } from './response-interceptor.ts'
export type {
  Filter,
  Logger,
  NextFunction,
  OnProxyEvent,
  Options,
  Options as LegacyOptions,
  PathRewriteConfig,
  Plugin,
  RequestHandler,
} from './types.ts'
