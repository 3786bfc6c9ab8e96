import type * as v from 'valibot'
import { closed, millis, optional } from './rules.ts'

/** The defaults of `timeouts`, ms; groups and routes fall back on their parents' instead. */
export const TIMEOUT_DEFAULTS = Object.freeze({
  connect: 5000,
  acquire: 3000,
  headers: 30_000,
  idle: 60_000,
  total: 0,
  upgradeIdle: 0,
  intercept: 10_000,
})

/** Time limits by phase. */
export const timeouts = closed(
  {
    connect: optional('To establish a connection to a backend, TLS included, ms.', millis('0: no limit', 5000)),
    acquire: optional('To wait for a free connection, ms.', millis('0: no limit', 3000)),
    headers: optional('Until the first byte of the response, ms.', millis('0: no limit', 30_000)),
    idle: optional('Without a byte of body in either direction, ms.', millis('0: no limit', 60_000)),
    total: optional('For the whole exchange, all attempts included, ms.', millis('0: no limit', 120_000)),
    upgradeIdle: optional('Without a byte on an upgraded connection, ms.', millis('0: no limit', 300_000)),
    intercept: optional(
      'For the interceptors of a route, until they respond or go on, ms.',
      millis('0: no limit', 10_000),
    ),
  },
  { example: { connect: 5000, headers: 30_000 } },
)

/** What {@link timeouts} makes of its input. */
export type CheckedTimeouts = v.InferOutput<typeof timeouts>
