export { consecutiveFailures, EJECTION_DEFAULTS, type EjectionOptions } from './consecutive-failures.ts'
