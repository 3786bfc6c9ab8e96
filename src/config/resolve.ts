import { domainToASCII } from 'node:url'
import * as v from 'valibot'
import type { HealthCheck } from '../contracts/health-check.ts'
import type { Logger } from '../contracts/logger.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import type { Transform } from '../contracts/transform.ts'
import { inline } from '../executors/index.ts'
import { consecutiveFailures, EJECTION_DEFAULTS, grpcProbe, httpProbe } from '../health-checks/index.ts'
import { consoleLogger, silentLogger, toLogger } from '../loggers/index.ts'
import type { BackendInit } from '../model/backend.ts'
import { normalPath } from '../model/path.ts'
import { comparablePrefix } from '../model/prefix.ts'
import { POOL_DEFAULTS } from '../pools/settings.ts'
import { budgetedRetries } from '../retry-policies/index.ts'
import { type Clock, guardedClock, systemClock } from '../runtime/clock.ts'
import { withoutUndefined } from '../runtime/complete.ts'
import { describeError } from '../runtime/describe-error.ts'
import { addPrefix, requestHeaders, responseHeaders, stripPrefix } from '../transforms/index.ts'
import { isPrefixTransform } from '../transforms/prefix.ts'
import type { CheckedBackend } from './backend-schema.ts'
import { buildBalancer, DEFAULT_BALANCER } from './balancer-schema.ts'
import { hasUnnamedGroup, inconsistencies, UNNAMED } from './consistency.ts'
import type { CheckedGroup } from './group-schema.ts'
import { buildInterceptor } from './interceptor-schema.ts'
import type { ProxyOptions, ResolvedGroup, ResolvedOptions, ResolvedRoute, ResolvedTimeouts } from './options.ts'
import { OptionsError } from './options-error.ts'
import { type CheckedOptions, HTTP2_LIMIT_DEFAULTS, LIMIT_DEFAULTS, proxySchema } from './proxy-schema.ts'
import type { CheckedRoute } from './route-schema.ts'
import { faultsOf } from './rules.ts'
import { type CheckedTimeouts, GRPC_TIMEOUTS, TIMEOUT_DEFAULTS } from './timeouts-schema.ts'

/**
 * Checks the options, fills in every default and creates the policies that are described by data. The result is frozen. It
 * shares only policies, loggers, metadata and certificates with `input`.
 * @param running the clock of the proxy that they are for, if it runs already.
 * @throws {@link OptionsError} with every fault at once.
 */
export function resolveOptions(input: ProxyOptions, running?: Clock): ResolvedOptions {
  const checked = v.safeParse(proxySchema, input)
  const faults = [...faultsOf(checked.issues ?? []), ...inconsistencies(input)]
  if (!checked.success || faults.length > 0) throw new OptionsError(faults)
  const options = checked.output

  const logger = resolveLogger(options.logger)
  const clock = running ?? resolveClock(options.clock, logger)
  const timeouts = overlay(TIMEOUT_DEFAULTS, options.timeouts)
  const groups = resolveGroups(options, timeouts, clock)
  const routeOptions = options.routes.length === 0 ? [{ path: '/', exact: false, grpc: false }] : options.routes
  const routes = Object.freeze(routeOptions.map((route) => resolveRoute(route, groups, timeouts, clock)))
  const { name, accessLog, observers, executor, drainTimeoutMs } = options
  return Object.freeze<ResolvedOptions>({
    given: { name, logger: options.logger, accessLog, observers, executor, clock: options.clock, drainTimeoutMs },
    name: name ?? '',
    groups,
    routes,
    routing: Object.freeze(options.routing),
    looksAtPaths: routes.some(looksAtPath),
    logger,
    accessLog: Object.freeze(resolveAccessLog(accessLog)),
    observers: Object.freeze([...(observers ?? [])]),
    trustedProxies: Object.freeze(options.trustedProxies),
    xfwd: options.xfwd,
    forwarded: Object.freeze({
      pass: Object.freeze((options.forwarded?.pass ?? []).map((name) => name.toLowerCase())),
    }),
    hostHeader: options.hostHeader,
    via: options.via,
    timeouts,
    limits: Object.freeze({
      ...LIMIT_DEFAULTS,
      ...options.limits,
      http2: Object.freeze({ ...HTTP2_LIMIT_DEFAULTS, ...options.limits?.http2 }),
    }),
    drainTimeoutMs,
    executor: executor ?? inline(),
    clock,
  })
}

function resolveGroups(options: CheckedOptions, timeouts: ResolvedTimeouts, clock: Clock): Map<string, ResolvedGroup> {
  const groups = new Map<string, ResolvedGroup>()
  if (hasUnnamedGroup(options)) {
    groups.set(UNNAMED, resolveGroup(UNNAMED, { ...options, timeouts: undefined }, timeouts, clock))
  }
  for (const [name, group] of Object.entries(options.groups ?? {})) {
    groups.set(name, resolveGroup(name, group, timeouts, clock))
  }
  return groups
}

function resolveGroup(name: string, group: CheckedGroup, parent: ResolvedTimeouts, clock: Clock): ResolvedGroup {
  const backends = group.backends ?? (group.target === undefined ? [] : [group.target])
  const { balancer, affinity, pool, healthCheck, slowStartMs, retry } = group
  return Object.freeze<ResolvedGroup>({
    name,
    given: Object.freeze({ balancer, affinity, pool, healthCheck, slowStartMs, retry }),
    backends: Object.freeze(backends.map(resolveBackend)),
    balancer: buildBalancer(group.balancer ?? DEFAULT_BALANCER, clock),
    affinity: group.affinity ?? null,
    pool:
      group.pool !== undefined && 'acquire' in group.pool
        ? group.pool
        : Object.freeze({ ...POOL_DEFAULTS, ...group.pool }),
    healthCheck: resolveHealthCheck(group.healthCheck, clock),
    maxEjectedPercent: maxEjectedPercent(group.healthCheck),
    slowStartMs: group.slowStartMs,
    retry: resolveRetry(group.retry, clock),
    timeouts: overlay(parent, group.timeouts),
  })
}

function resolveBackend(input: CheckedBackend): BackendInit {
  if (typeof input === 'string' || input instanceof URL) return Object.freeze({ url: String(input) })
  const { url, id, weight, protocol, proxyProtocol, metadata, tls } = input
  return Object.freeze<BackendInit>({
    url: String(url),
    ...(id !== undefined && { id }),
    ...(weight !== undefined && { weight }),
    ...(protocol !== undefined && { protocol }),
    ...(proxyProtocol !== undefined && { proxyProtocol }),
    ...(metadata !== undefined && { metadata }),
    ...(tls !== undefined && { tls: Object.freeze(withoutUndefined(tls)) }),
  })
}

function resolveHealthCheck(input: CheckedGroup['healthCheck'], clock: Clock): HealthCheck | null {
  if (input === false) return null
  if (input !== undefined && 'observe' in input) return input
  const passive = consecutiveFailures(input)
  if (input?.probe === undefined) return passive
  const active = input.probe.type === 'grpc' ? grpcProbe(input.probe, clock) : httpProbe(input.probe, clock)
  return { ...active, ...passive }
}

function maxEjectedPercent(input: CheckedGroup['healthCheck']): number {
  const isOptions = input !== undefined && input !== false && !('observe' in input)
  return isOptions ? input.maxEjectedPercent : EJECTION_DEFAULTS.maxEjectedPercent
}

function resolveRetry(input: CheckedGroup['retry'], clock: Clock): RetryPolicy | null {
  if (input === false) return null
  return input !== undefined && 'next' in input ? input : budgetedRetries(input, clock)
}

function resolveRoute(
  route: CheckedRoute,
  groups: ReadonlyMap<string, ResolvedGroup>,
  timeouts: ResolvedTimeouts,
  clock: Clock,
): ResolvedRoute {
  const group = route.group ?? UNNAMED
  const ownTimeouts = Object.freeze({ ...(route.grpc ? GRPC_TIMEOUTS : {}), ...withoutUndefined(route.timeouts ?? {}) })
  const methods = typeof route.method === 'string' ? [route.method] : (route.method ?? [])
  return Object.freeze<ResolvedRoute>({
    given: route,
    host: route.host === undefined ? '' : hostPattern(route.host),
    path: route.exact ? normalPath(route.path) : comparablePrefix(route.path) || '/',
    exact: route.exact,
    methods: Object.freeze(methods.map((method) => method.toUpperCase())),
    group,
    transforms: Object.freeze(transformsOf(route)),
    interceptors: Object.freeze((route.interceptors ?? []).map((one) => buildInterceptor(one, clock))),
    timeouts: overlay(groups.get(group)?.timeouts ?? timeouts, ownTimeouts),
    ownTimeouts,
  })
}

function looksAtPath({ path, exact, transforms }: ResolvedRoute): boolean {
  return path !== '/' || exact || transforms.some(isPrefixTransform)
}

function transformsOf(route: CheckedRoute): Transform[] {
  const { requestHeaders: request, responseHeaders: response } = route
  return [
    ...(route.stripPrefix === undefined ? [] : [stripPrefix(route.stripPrefix)]),
    ...(route.addPrefix === undefined ? [] : [addPrefix(route.addPrefix)]),
    ...(request === undefined ? [] : [requestHeaders(withoutUndefined(request))]),
    ...(response === undefined ? [] : [responseHeaders(withoutUndefined(response))]),
    ...(route.transforms ?? []),
  ]
}

/** The host in the form of the router: lower case, ASCII, without a trailing dot. */
function hostPattern(host: string): string {
  const name = host.replace(/^\*\./, '').replace(/\.$/, '')
  return `${host.startsWith('*.') ? '*.' : ''}${domainToASCII(name)}`
}

function resolveLogger(input: CheckedOptions['logger']): Logger {
  if (input === 'silent') return silentLogger()
  if (input === 'warnings') return consoleLogger({ level: 'warn' })
  return input === 'console' ? consoleLogger() : toLogger(input)
}

function resolveClock(input: Clock | undefined, logger: Logger): Clock {
  if (input === undefined) return systemClock
  return guardedClock(input, (error) => logger.error({ err: error }, `the clock threw: ${describeError(error)}`))
}

function resolveAccessLog(input: CheckedOptions['accessLog']): ResolvedOptions['accessLog'] {
  return typeof input === 'string' ? { format: input, write: null } : input
}

function overlay(base: ResolvedTimeouts, over: CheckedTimeouts | undefined): ResolvedTimeouts {
  return Object.freeze({ ...base, ...withoutUndefined(over ?? {}) })
}
