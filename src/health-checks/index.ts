export { consecutiveFailures, EJECTION_DEFAULTS, type EjectionOptions } from './consecutive-failures.ts'
export { grpcProbe } from './grpc-probe.ts'
export { httpProbe } from './http-probe.ts'
export { PROBE_DEFAULTS, type ProbeOptions } from './probe-options.ts'
