export { type BalancerDeps, type BalancerTraits, balancerSuite } from './balancer-suite.ts'
export { exchangeView } from './exchange-view.ts'
export { loggerSuite } from './logger-suite.ts'
export { type ManualClock, type ManualClockOptions, manualClock } from './manual-clock.ts'
export * from './misbehaviour.ts'
export { deadPort, type MockBackend, type MockBackendOptions, mockBackend } from './mock-backend.ts'
export type { MockHeaders } from './mock-headers.ts'
export {
  type MockPool,
  type MockPoolAnswer,
  type MockPoolEvent,
  type MockPoolOptions,
  type MockPoolRequest,
  type MockPoolScript,
  type MockPoolStep,
  mockPool,
} from './mock-pool.ts'
export type {
  MockAnswer,
  MockHandler,
  MockHead,
  MockReply,
  MockRequest,
  MockScript,
  MockStep,
} from './mock-script.ts'
export { type PoolTraits, poolSuite } from './pool-suite.ts'
export { seededRandom } from './random.ts'
export { type LogEntry, type RecordingLogger, recordingLogger } from './recording-logger.ts'
export type { SuiteRunner } from './suite-runner.ts'
