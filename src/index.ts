export * from './balancers/index.ts'
export type * from './contracts/balancer.ts'
export type * from './contracts/executor.ts'
export type * from './contracts/health-check.ts'
export type * from './contracts/logger.ts'
export type * from './contracts/pool.ts'
export type * from './contracts/retry-policy.ts'
export type * from './contracts/transform.ts'
export { createProxy } from './create-proxy.ts'
export * from './executors/index.ts'
export * from './health-checks/index.ts'
export {
  consoleLogger,
  type LineStream,
  type LineWriter,
  type LineWriterOptions,
  lineWriter,
  silentLogger,
} from './loggers/index.ts'
export { Backend, type BackendInit, type BackendTls, type Endpoint } from './model/backend.ts'
export type { Cells } from './model/cells.ts'
export type { Clock } from './model/clock.ts'
export { type Phase, ProxyError, type ProxyErrorCode, type ProxyErrorDetails, type Side } from './model/errors.ts'
export type { ExchangeView, HeaderList, Timeouts } from './model/exchange.ts'
export type { Outcome, OutcomeKind } from './model/outcome.ts'
export type { ExchangeRecord } from './model/record.ts'
export { type OptionFault, OptionsError } from './options/options-error.ts'
export type * from './options.ts'
export { http1Pool } from './pools/http1-pool.ts'
export type * from './proxy.ts'
export type { ProxyEvents } from './request/events.ts'
export * from './retry-policies/index.ts'
export * from './transforms/index.ts'
