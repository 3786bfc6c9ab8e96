import assert from 'node:assert/strict'
import http from 'node:http'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import { fileProperties } from '../../src/cli/file-options.ts'
import { resolveOptions } from '../../src/config/resolve.ts'
import type {
  BackendInit,
  BackendTls,
  EjectionOptions,
  GroupOptions,
  HeaderChanges,
  LimitOptions,
  ListenOptions,
  PoolOptions,
  ProbeOptions,
  ProxyOptions,
  RetryOptions,
  RouteOptions,
  RoutingOptions,
  ScaleOptions,
  TimeoutOptions,
  WebOverrides,
  WorkerThreadsOptions,
} from '../../src/index.ts'
import {
  addresses,
  bufferedBody,
  type CompressOptions,
  type ConsistentHashOptions,
  compress,
  consistentHash,
  consoleLogger,
  cors,
  createProxy,
  defineConfig,
  errorPage,
  followRedirects,
  forwardAuth,
  type LineWriterOptions,
  lineWriter,
  type PeakEwmaOptions,
  peakEwma,
  responseBody,
  rewriteCookies,
  rewriteLocation,
  standardPool,
  workerThreads,
} from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { listening } from '../support/running-proxy.ts'

/** Every option that may be left out, as `undefined`: a new one that cannot be that does not compile. */
type Absent<Options> = {
  [Key in keyof Options as Partial<Pick<Options, Key>> extends Pick<Options, Key> ? Key : never]-?: undefined
}

const timeouts = {
  connect: undefined,
  acquire: undefined,
  headers: undefined,
  idle: undefined,
  total: undefined,
  upgradeIdle: undefined,
  intercept: undefined,
} satisfies Absent<TimeoutOptions>

const tls = {
  ca: undefined,
  cert: undefined,
  key: undefined,
  servername: undefined,
  rejectUnauthorized: undefined,
} satisfies Absent<BackendTls>

const backend = {
  id: undefined,
  weight: undefined,
  protocol: undefined,
  proxyProtocol: undefined,
  metadata: undefined,
  tls: undefined,
} satisfies Absent<BackendInit>

const probe = {
  type: undefined,
  service: undefined,
  path: undefined,
  method: undefined,
  host: undefined,
  statuses: undefined,
  intervalMs: undefined,
  timeoutMs: undefined,
  rise: undefined,
  fall: undefined,
} satisfies Absent<ProbeOptions>

const ejection = {
  consecutiveFailures: undefined,
  statuses: undefined,
  baseMs: undefined,
  maxMs: undefined,
  maxEjectedPercent: undefined,
} satisfies Absent<EjectionOptions>

const pool = {
  maxConnections: undefined,
  maxWaiting: undefined,
  keepAliveMs: undefined,
  maxResponseHeadBytes: undefined,
  maxInterimResponses: undefined,
  pingMs: undefined,
} satisfies Absent<PoolOptions>

const retry = {
  maxRetries: undefined,
  budgetPercent: undefined,
  minPerSecond: undefined,
  baseDelayMs: undefined,
  maxDelayMs: undefined,
} satisfies Absent<RetryOptions>

const group = {
  backends: undefined,
  target: undefined,
  balancer: undefined,
  affinity: undefined,
  pool: undefined,
  healthCheck: undefined,
  slowStartMs: undefined,
  retry: undefined,
  timeouts: undefined,
} satisfies Absent<GroupOptions>

const changes = { set: undefined, remove: undefined } satisfies Absent<HeaderChanges>

const route = {
  host: undefined,
  path: undefined,
  exact: undefined,
  method: undefined,
  group: undefined,
  stripPrefix: undefined,
  addPrefix: undefined,
  requestHeaders: undefined,
  responseHeaders: undefined,
  transforms: undefined,
  interceptors: undefined,
  grpc: undefined,
  timeouts: undefined,
} satisfies Absent<RouteOptions>

const limits = {
  maxHeadBytes: undefined,
  maxHeaders: undefined,
  maxTargetBytes: undefined,
  maxBodyBytes: undefined,
  replayBytes: undefined,
  maxConnections: undefined,
  maxConnectionsPerAddress: undefined,
  halfClose: undefined,
  maxRequestsPerConnection: undefined,
  maxConnectionAgeMs: undefined,
  headTimeoutMs: undefined,
  requestTimeoutMs: undefined,
  minBodyBytesPerSecond: undefined,
  minReadBytesPerSecond: undefined,
  http2: undefined,
} satisfies Absent<LimitOptions>

const proxy = {
  ...group,
  name: undefined,
  groups: undefined,
  routes: undefined,
  routing: undefined,
  logger: undefined,
  accessLog: undefined,
  observers: undefined,
  trustedProxies: undefined,
  forwarded: undefined,
  xfwd: undefined,
  hostHeader: undefined,
  via: undefined,
  limits: undefined,
  drainTimeoutMs: undefined,
  executor: undefined,
  clock: undefined,
} satisfies Absent<ProxyOptions>

const url = 'http://127.0.0.1:3000'
const ROUTES = [{ group: 'a' }]

describe('an option that is undefined counts as not given', () => {
  const cases: [name: string, given: ProxyOptions, same: ProxyOptions][] = [
    ['the proxy', { ...proxy, target: url }, { target: url }],
    ['nothing at all', proxy, {}],
    ['backends', { backends: [{ url, ...backend }] }, { backends: [{ url }] }],
    ['tls', { backends: [{ url, tls }] }, { backends: [{ url, tls: {} }] }],
    ['timeouts', { target: url, timeouts }, { target: url }],
    ['pool', { target: url, pool }, { target: url }],
    ['limits', { target: url, limits }, { target: url }],
    [
      'a group',
      { groups: { a: { ...group, target: url } }, routes: ROUTES },
      { groups: { a: { target: url } }, routes: ROUTES },
    ],
    ['a route', { target: url, routes: [route] }, { target: url, routes: [{}] }],
    ['routing', { target: url, routing: { encodedSlashes: undefined } satisfies RoutingOptions }, { target: url }],
    ['forwarded', { target: url, forwarded: { pass: undefined } }, { target: url }],
  ]
  for (const [name, given, same] of cases) {
    test(name, () => assert.deepEqual(plain(given), plain(same)))
  }

  test('health check and retry', () => {
    const { groups } = resolveOptions({ target: url, healthCheck: { ...ejection, probe }, retry })
    assert.equal(groups.get('default')?.maxEjectedPercent, 50)
    assert.equal(typeof groups.get('default')?.healthCheck?.watch, 'function')
  })

  test('headers of a route, and balancers and interceptors by name', () => {
    const balancers = [
      { name: 'peak-ewma', defaultRttMs: undefined, decayMs: undefined, penaltyMs: undefined },
      { name: 'consistent-hash', by: undefined, boundedLoad: undefined, pointsPerWeight: undefined },
    ] as const
    for (const balancer of balancers) resolveOptions({ target: url, balancer })
    resolveOptions({
      target: url,
      routes: [
        {
          requestHeaders: changes,
          responseHeaders: changes,
          interceptors: [{ name: 'compress', encodings: undefined, levels: undefined }],
        },
      ],
    })
  })

  test('overrides of a call', async () => {
    await using target = await mockBackend()
    const overrides = {
      target: undefined,
      group: undefined,
      path: undefined,
      headers: undefined,
      responseHeaders: undefined,
      hostHeader: undefined,
      timeouts: undefined,
      transforms: undefined,
      interceptors: undefined,
      context: undefined,
      onError: undefined,
      method: undefined,
      body: undefined,
    } satisfies Absent<WebOverrides>
    await using forwarding = createProxy({ target: target.url })
    for (const given of [overrides, { timeouts, headers: changes, responseHeaders: changes }]) {
      const server = http.createServer((req, res) => forwarding.web(req, res, given))
      const address = `http://127.0.0.1:${await listening(server)}`
      assert.equal(await (await fetch(`${address}/a`)).text(), 'GET /a')
      server.close().closeAllConnections()
    }
  })

  test('threads and listening', async () => {
    const threads = {
      threads: undefined,
      listeners: undefined,
      spread: undefined,
      scale: {
        growAbove: undefined,
        shrinkBelow: undefined,
        forMs: undefined,
        coolDownMs: undefined,
      } satisfies Absent<ScaleOptions>,
      maxCrashes: undefined,
      startTimeoutMs: undefined,
      drainTimeoutMs: undefined,
      resourceLimits: undefined,
      module: undefined,
      clock: undefined,
    } satisfies Record<keyof WorkerThreadsOptions, unknown>
    workerThreads(threads)
    const where = {
      host: undefined,
      path: undefined,
      backlog: undefined,
      tls: undefined,
      fallback: undefined,
      protocols: undefined,
      proxyProtocol: undefined,
    }
    await using listening = createProxy(proxy)
    await listening.listen({ ...where, port: 0 } satisfies { [Key in keyof Required<ListenOptions>]: unknown })
  })

  test('built-ins that are made in code', () => {
    consistentHash({
      by: undefined,
      boundedLoad: undefined,
      pointsPerWeight: undefined,
      random: undefined,
    } satisfies Absent<ConsistentHashOptions>)
    peakEwma({
      defaultRttMs: undefined,
      decayMs: undefined,
      penaltyMs: undefined,
      random: undefined,
      now: undefined,
    } satisfies Absent<PeakEwmaOptions>)
    standardPool(pool).destroy()
    consoleLogger({ level: undefined, stream: undefined, format: undefined })
    void lineWriter(1, {
      maxBufferedBytes: undefined,
      batchBytes: undefined,
      intervalMs: undefined,
      retryMs: undefined,
      onError: undefined,
    } satisfies Absent<LineWriterOptions>).close()
    addresses({ allow: ['private'], deny: undefined })
    bufferedBody({ maxBytes: undefined, contentTypes: undefined, edit: (body) => body })
    compress({
      encodings: undefined,
      levels: undefined,
      minBytes: undefined,
      types: undefined,
    } satisfies Absent<CompressOptions>)
    cors({
      origins: ['https://a.example'],
      methods: undefined,
      headers: undefined,
      exposedHeaders: undefined,
      credentials: undefined,
      maxAgeSeconds: undefined,
    })
    errorPage({ html: undefined, json: undefined, text: undefined, statuses: undefined, render: undefined })
    followRedirects({ max: undefined, prefix: undefined, origins: undefined })
    forwardAuth({
      url: 'http://127.0.0.1:1/',
      requestHeaders: undefined,
      responseHeaders: undefined,
      clientHeaders: undefined,
      timeoutMs: undefined,
      cacheMs: undefined,
      cacheBy: undefined,
      maxCached: undefined,
      tls: undefined,
    })
    responseBody({ when: undefined, decode: undefined, transform: () => new PassThrough() })
    rewriteCookies({ domain: undefined, path: '/app', secure: undefined, sameSite: undefined })
    rewriteLocation({ host: undefined, protocol: undefined, prefix: undefined })
  })
})

test('lists may be readonly', () => {
  const names = ['x-a'] as const
  const statuses = [502] as const
  const options = {
    backends: [{ url, tls: { ca: ['-----BEGIN CERTIFICATE-----'] } }],
    routes: [{ method: ['GET'], requestHeaders: { remove: names }, transforms: [], interceptors: ['compress'] }],
    healthCheck: { statuses, probe: { statuses } },
    trustedProxies: ['loopback'],
    forwarded: { pass: ['X-Real-IP'] },
    observers: [],
  } as const
  assert.equal(resolveOptions(options).routes.length, 1)
})

test('defineConfig() has the options of the file, and returns it as it is', () => {
  const config = { target: url, listen: '127.0.0.1:8080', threads: 'auto', log: { level: 'warn' } } as const
  assert.equal(defineConfig(config), config)
  const own: Record<Exclude<keyof Parameters<typeof defineConfig>[0], keyof ProxyOptions>, true> = {
    $schema: true,
    listen: true,
    threads: true,
    log: true,
  }
  assert.deepEqual(Object.keys(own).sort(), Object.keys(fileProperties).sort())
})

/** The resolved options, without what is another object each time. */
function plain(options: ProxyOptions): unknown {
  const { groups, routes, ...rest } = resolveOptions(options)
  const data = { groups: [...groups], routes, rest }
  return JSON.parse(JSON.stringify(data, (key, value) => (key === 'given' ? undefined : value)))
}
