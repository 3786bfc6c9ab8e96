export * from './balancers/index.ts'
export type * from './config/acme-options.ts'
export {
  defineConfig,
  type FileOptions,
  type HeddleConfig,
  type ListenerOptions,
  type ListenInput,
  type Threads,
} from './config/heddle-config.ts'
export type * from './config/options.ts'
export { type OptionFault, OptionsError } from './config/options-error.ts'
export type * from './contracts/affinity.ts'
export type * from './contracts/balancer.ts'
export type * from './contracts/certificate-provider.ts'
export type * from './contracts/events.ts'
export type * from './contracts/executor.ts'
export type * from './contracts/health-check.ts'
export type * from './contracts/interceptor.ts'
export type * from './contracts/logger.ts'
export type * from './contracts/observer.ts'
export type * from './contracts/pool.ts'
export type * from './contracts/retry-policy.ts'
export type * from './contracts/transform.ts'
export * from './executors/index.ts'
export { handleUpgrades } from './fronts/node/app-upgrades.ts'
export { headerView } from './headers/view.ts'
export * from './health-checks/index.ts'
export * from './interceptors/index.ts'
export {
  type ConsoleLoggerOptions,
  consoleLogger,
  type LineStream,
  type LineWriter,
  type LineWriterOptions,
  type LogStream,
  lineWriter,
  silentLogger,
} from './loggers/index.ts'
export {
  Backend,
  type BackendInit,
  type BackendProtocol,
  type BackendStatus,
  type BackendTls,
  type Endpoint,
} from './model/backend.ts'
export { type Phase, ProxyError, type ProxyErrorCode, type ProxyErrorDetails, type Side } from './model/errors.ts'
export type { ExchangeView, HeaderList, Timeouts } from './model/exchange-view.ts'
export type { HeaderView } from './model/header-view.ts'
export type { RequestHead, ResponseHead } from './model/message.ts'
export type { Outcome, OutcomeKind } from './model/outcome.ts'
export type { ExchangeRecord } from './model/record.ts'
export { standardPool } from './pools/standard/pool.ts'
export { createProxy } from './proxy/create-proxy.ts'
export type * from './proxy/types.ts'
export * from './retry-policies/index.ts'
export type { BackendState } from './runtime/backend-state.ts'
export type { Clock } from './runtime/clock.ts'
export type { ThreadObserver } from './threads/protocol.ts'
export type { ScaleOptions } from './threads/scaler.ts'
export { type RunningThreads, type ServeModuleOptions, serveModule } from './threads/serve-module.ts'
export type { WorkerThreadsOptions } from './threads/settings.ts'
export type { Spread } from './threads/spread.ts'
export * from './transforms/index.ts'
