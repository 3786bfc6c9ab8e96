import type * as v from 'valibot'
import { closed, defaultsTo, millis, optional } from './rules.ts'

/** The defaults of `timeouts`, ms. Groups and routes inherit the limits of their parents instead. */
export const TIMEOUT_DEFAULTS = Object.freeze({
  connect: 5000,
  acquire: 3000,
  headers: 30_000,
  idle: 60_000,
  total: 0,
  upgradeIdle: 0,
  intercept: 10_000,
})

/** The limits of a route with `grpc: true`. A stream is quiet while nothing happens, and its head may come with the first message. */
export const GRPC_TIMEOUTS = Object.freeze({ headers: 0, idle: 0 })

const PHASES = {
  connect: 'To establish a connection to a backend, TLS included, ms.',
  acquire: 'To wait for a connection when the backend has as many as `pool.maxConnections` allows, ms.',
  headers: 'From sending the request to the first byte of the response head, ms.',
  idle: 'Without a byte of body in either direction, ms.',
  total: 'For the whole exchange, all attempts and waits included, ms.',
  upgradeIdle:
    'Without a byte in either direction on an upgraded connection (WebSocket), ms. If it is off, `timeouts.idle` still applies once one side has ended.',
  intercept: 'For the interceptors of a route, until they respond or send the request on, ms.',
}

/** Time limits by phase, without defaults, since they are inherited. */
export const timeouts = closed(
  {
    connect: optional(PHASES.connect, limit('connect')),
    acquire: optional(PHASES.acquire, limit('acquire')),
    headers: optional(PHASES.headers, limit('headers')),
    idle: optional(PHASES.idle, limit('idle')),
    total: optional(PHASES.total, limit('total')),
    upgradeIdle: optional(PHASES.upgradeIdle, limit('upgradeIdle')),
    intercept: optional(PHASES.intercept, limit('intercept')),
  },
  { example: { connect: TIMEOUT_DEFAULTS.connect, headers: TIMEOUT_DEFAULTS.headers } },
)

/** {@link timeouts} of the proxy, with defaults. */
export const proxyTimeouts = closed(
  {
    connect: defaultsTo(PHASES.connect, limit('connect'), TIMEOUT_DEFAULTS.connect),
    acquire: defaultsTo(PHASES.acquire, limit('acquire'), TIMEOUT_DEFAULTS.acquire),
    headers: defaultsTo(PHASES.headers, limit('headers'), TIMEOUT_DEFAULTS.headers),
    idle: defaultsTo(PHASES.idle, limit('idle'), TIMEOUT_DEFAULTS.idle),
    total: defaultsTo(PHASES.total, limit('total'), TIMEOUT_DEFAULTS.total),
    upgradeIdle: defaultsTo(PHASES.upgradeIdle, limit('upgradeIdle'), TIMEOUT_DEFAULTS.upgradeIdle),
    intercept: defaultsTo(PHASES.intercept, limit('intercept'), TIMEOUT_DEFAULTS.intercept),
  },
  { example: { connect: TIMEOUT_DEFAULTS.connect, headers: TIMEOUT_DEFAULTS.headers } },
)

/** The output of {@link timeouts}. */
export type CheckedTimeouts = v.InferOutput<typeof timeouts>

/** The example is the default, or another number if the phase is unlimited by default. */
function limit(phase: keyof typeof TIMEOUT_DEFAULTS) {
  return millis('0: no limit', TIMEOUT_DEFAULTS[phase] || 300_000)
}
