export { consecutiveFailures, EJECTION_DEFAULTS, type EjectionOptions } from './consecutive-failures.ts'
export { httpProbe, PROBE_DEFAULTS, type ProbeOptions } from './http-probe.ts'
