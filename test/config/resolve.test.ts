import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import type { ProxyOptions, ResolvedGroup } from '../../src/config/options.ts'
import { type OptionFault, OptionsError } from '../../src/config/options-error.ts'
import { resolveOptions } from '../../src/config/resolve.ts'
import type { Balancer } from '../../src/contracts/balancer.ts'
import type { HealthCheck } from '../../src/contracts/health-check.ts'
import type { Logger } from '../../src/contracts/logger.ts'
import type { Pool } from '../../src/contracts/pool.ts'
import type { RetryPolicy } from '../../src/contracts/retry-policy.ts'
import type { Transform } from '../../src/contracts/transform.ts'
import { type Clock, systemClock } from '../../src/runtime/clock.ts'

const target = 'http://127.0.0.1:3000'

test('a target alone is enough, with every default', () => {
  const options = resolveOptions({ target })
  const group = options.groups.get('default')
  assert.deepEqual([...options.groups.keys()], ['default'])
  assert.deepEqual(group?.backends, [{ url: target }])
  assert.equal(group?.balancer.name, 'power-of-two')
  assert.equal(group?.healthCheck?.name, 'consecutive-failures')
  assert.equal(group?.maxEjectedPercent, 50)
  assert.equal(group?.retry?.name, 'budgeted')
  assert.deepEqual(group?.pool, {
    maxConnections: 256,
    maxWaiting: 1024,
    keepAliveMs: 4000,
    maxResponseHeadBytes: 65_536,
    maxInterimResponses: 100,
    pingMs: 0,
  })
  const timeouts = {
    connect: 5000,
    acquire: 3000,
    headers: 30_000,
    idle: 60_000,
    total: 0,
    upgradeIdle: 0,
    intercept: 10_000,
  }
  assert.deepEqual(options.timeouts, timeouts)
  assert.deepEqual(group?.timeouts, timeouts)
  const route = {
    given: { path: '/', exact: false, grpc: false },
    host: '',
    path: '/',
    exact: false,
    methods: [],
    group: 'default',
    transforms: [],
    interceptors: [],
    timeouts,
    ownTimeouts: {},
  }
  assert.deepEqual(options.routes, [route])
  assert.deepEqual(options.accessLog, { format: 'off', write: null })
  assert.deepEqual(options.limits, {
    maxHeadBytes: 16_384,
    maxHeaders: 100,
    maxTargetBytes: 8192,
    maxBodyBytes: 0,
    replayBytes: 65_536,
    maxConnections: 0,
    maxConnectionsPerAddress: 0,
    halfClose: 'respond',
    maxRequestsPerConnection: 0,
    maxConnectionAgeMs: 0,
    headTimeoutMs: 60_000,
    requestTimeoutMs: 0,
    minBodyBytesPerSecond: 0,
    minReadBytesPerSecond: 0,
    http2: { maxStreams: 128, windowBytes: 1_048_576, maxDemerits: 300 },
  })
  assert.deepEqual(options.trustedProxies, [])
  assert.equal(options.xfwd, true)
  assert.equal(options.hostHeader, 'client')
  assert.equal(options.via, '')
  assert.equal(options.drainTimeoutMs, 10_000)
  assert.equal(options.clock, systemClock)
})

const PEM = '-----BEGIN CERTIFICATE-----\n...'

test('text that is not PEM is refused as a certificate or key, and not shown', () => {
  // node takes it, and then every connection fails.
  const tls = { ca: ['./ca.pem', PEM], cert: './cert.pem', key: 'hunter2' }
  assert.throws(
    () => resolveOptions({ backends: [{ url: 'https://a', tls }] }),
    (error: OptionsError) => {
      assert.deepEqual(
        error.faults.map(({ path }) => path),
        ['backends[0].tls.ca[0]', 'backends[0].tls.cert', 'backends[0].tls.key'],
      )
      assert.match(
        error.message,
        /tls\.cert is text that is not PEM; if it is the path of a file, give readFileSync\(path\)/,
      )
      assert.doesNotMatch(error.message, /hunter2/)
      return true
    },
  )
})

test('a backend without http:// is refused with the URL that is probably meant', () => {
  for (const [typed, meant] of [
    ['localhost:3001', 'http://localhost:3001'],
    [':3001', 'http://localhost:3001'],
    ['3001', 'http://localhost:3001'],
    ['10.0.0.1:80/base', 'http://10.0.0.1:80/base'],
    ['[::1]:80', 'http://[::1]:80'],
  ]) {
    assert.throws(
      () => resolveOptions({ backends: [typed ?? ''] }),
      (error: Error) => error.message.includes(`did you mean ${meant}?`),
      typed,
    )
  }
})

test('backends may be strings, URLs and objects', () => {
  const metadata = { zone: 'a' }
  const key = Buffer.from('key')
  const { groups } = resolveOptions({
    backends: [
      'http://a',
      new URL('https://b/base'),
      { url: 'http+unix:///run/c.sock', id: undefined } as { url: string },
      {
        url: new URL('https://d'),
        id: 'd',
        weight: 0.5,
        metadata,
        tls: { key, ca: [PEM, key], rejectUnauthorized: false },
      },
    ],
  })
  const backends = groups.get('default')?.backends ?? []
  assert.deepEqual(backends, [
    { url: 'http://a' },
    { url: 'https://b/base' },
    { url: 'http+unix:///run/c.sock' },
    { url: 'https://d/', id: 'd', weight: 0.5, metadata, tls: { key, ca: [PEM, key], rejectUnauthorized: false } },
  ])
  assert.equal(backends[3]?.metadata, metadata)
  assert.equal(backends[3]?.tls?.key, key)
})

test('groups inherit timeouts from the proxy, routes from their group', () => {
  const { groups, routes, timeouts } = resolveOptions({
    target,
    timeouts: { connect: 1, headers: 2, idle: 0 },
    groups: { api: { target, timeouts: { headers: 3, idle: undefined } as { headers: number } } },
    routes: [{ path: '/' }, { path: '/api', group: 'api', timeouts: { total: 4 } }],
  })
  assert.deepEqual(timeouts, {
    connect: 1,
    acquire: 3000,
    headers: 2,
    idle: 0,
    total: 0,
    upgradeIdle: 0,
    intercept: 10_000,
  })
  assert.deepEqual(groups.get('default')?.timeouts, timeouts)
  assert.deepEqual(groups.get('api')?.timeouts, { ...timeouts, headers: 3 })
  assert.deepEqual(routes[0]?.timeouts, timeouts)
  assert.deepEqual(routes[1]?.timeouts, { ...timeouts, headers: 3, total: 4 })
})

test('undefined counts as omitted', () => {
  const nothing = {
    balancer: undefined,
    timeouts: { idle: undefined },
    logger: undefined,
    routes: undefined,
    xfwd: undefined,
  }
  const options = resolveOptions({ target, ...nothing } as unknown as ProxyOptions)
  assert.equal(options.timeouts.idle, 60_000)
  assert.equal(options.xfwd, true)
})

test('0 and false are values', () => {
  const { groups, drainTimeoutMs, xfwd } = resolveOptions({
    target,
    pool: { keepAliveMs: 0, maxWaiting: 0 },
    healthCheck: false,
    retry: false,
    drainTimeoutMs: 0,
    xfwd: false,
  })
  const group = groups.get('default')
  assert.deepEqual(group?.pool, {
    maxConnections: 256,
    maxWaiting: 0,
    keepAliveMs: 0,
    maxResponseHeadBytes: 65_536,
    maxInterimResponses: 100,
    pingMs: 0,
  })
  assert.equal(group?.healthCheck, null)
  assert.equal(group?.retry, null)
  assert.equal(drainTimeoutMs, 0)
  assert.equal(xfwd, false)
})

test('policies are passed through by reference, not frozen', () => {
  class OwnBalancer implements Balancer {
    readonly name = 'own'
    pick: Balancer['pick'] = ([first]) => first
  }
  const balancer = new OwnBalancer()
  const healthCheck: HealthCheck = { name: 'own', observe: () => {} }
  const retry: RetryPolicy = { name: 'own', next: () => -1 }
  const idle = () => Promise.resolve()
  const pool = { acquire: () => {}, stats: () => {}, drain: idle, close: idle, destroy: () => {} } as unknown as Pool
  const transform: Transform = { name: 'own', request: () => {} }
  const logger: Logger = { debug() {}, info() {}, warn() {}, error() {} }
  const clock: Clock = { ...systemClock }
  const write = () => {}
  const options = resolveOptions({
    target,
    balancer,
    healthCheck,
    retry,
    pool,
    logger,
    clock,
    accessLog: { format: 'json', write },
    routes: [{ transforms: [transform] }],
  })
  const group = options.groups.get('default')
  assert.equal(group?.balancer, balancer)
  assert.equal(group?.healthCheck, healthCheck)
  assert.equal(group?.retry, retry)
  assert.equal(group?.pool, pool)
  assert.equal(options.routes[0]?.transforms[0], transform)
  assert.equal(options.clock.now() <= clock.now(), true)
  assert.deepEqual(options.accessLog, { format: 'json', write })
  for (const each of [balancer, healthCheck, retry, pool, transform, logger, clock]) assert.ok(!Object.isFrozen(each))
})

test('every built-in balancer has a name and options', () => {
  const names = ['round-robin', 'least-connections', 'power-of-two', 'random', 'peak-ewma', 'consistent-hash'] as const
  for (const name of [...names, 'first-available'] as const) {
    for (const balancer of [name, { name }]) {
      const { groups } = resolveOptions({ target, balancer })
      assert.equal(groups.get('default')?.balancer.name, name)
    }
  }
  resolveOptions({ target, balancer: { name: 'peak-ewma', decayMs: 5000 } })
  resolveOptions({ target, balancer: { name: 'consistent-hash', by: { header: 'x-user' }, boundedLoad: 0 } })
  resolveOptions({ target, balancer: { name: 'consistent-hash', by: () => 'key' } })
})

test('routes are resolved to the form of the router', () => {
  const { routes } = resolveOptions({
    target,
    routes: [
      { host: 'EXAMPLE.com.', path: '/api/', method: 'get' },
      { host: '*.München.de', path: '/x/', exact: true, method: ['post', 'Put'] },
      { host: '[::1]', path: '//' },
    ],
  })
  const found = routes.map(({ host, path, exact, methods }) => ({ host, path, exact, methods }))
  assert.deepEqual(found, [
    { host: 'example.com', path: '/api', exact: false, methods: ['GET'] },
    { host: '*.xn--mnchen-3ya.de', path: '/x/', exact: true, methods: ['POST', 'PUT'] },
    { host: '[::1]', path: '/', exact: false, methods: [] },
  ])
})

test('transforms run in the documented order: strip, add, headers, then the application’s', () => {
  const own: Transform = { name: 'own', response: () => {} }
  const { routes } = resolveOptions({
    target,
    routes: [
      {
        transforms: [own],
        responseHeaders: { remove: ['server'] },
        requestHeaders: { set: { 'x-a': '1' } },
        addPrefix: '/v1',
        stripPrefix: '/api',
      },
    ],
  })
  const names = routes[0]?.transforms.map((transform) => transform.name)
  assert.deepEqual(names, ['strip-prefix', 'add-prefix', 'request-headers', 'response-headers', 'own'])
})

test('the result is frozen and independent of the input', () => {
  const input = {
    backends: [{ url: target, weight: 1 }],
    trustedProxies: ['loopback'],
    routes: [{ method: ['GET'], requestHeaders: { set: { a: '1' } } }],
  }
  const options = resolveOptions(input)
  input.backends.push({ url: 'http://other', weight: 1 })
  Object.assign(input.backends[0] as object, { weight: 9 })
  input.trustedProxies.push('private')
  input.routes[0]?.method.push('POST')
  const group = options.groups.get('default') as ResolvedGroup
  assert.deepEqual(group.backends, [{ url: target, weight: 1 }])
  assert.deepEqual(options.trustedProxies, ['loopback'])
  assert.deepEqual(options.routes[0]?.methods, ['GET'])
  const frozen = [options, options.routes, options.routes[0], options.routes[0]?.methods, options.routes[0]?.transforms]
  const more = [options.timeouts, options.limits, options.accessLog, options.trustedProxies, group, group.backends]
  for (const each of [...frozen, ...more, group.backends[0], group.timeouts, group.pool])
    assert.ok(Object.isFrozen(each))
})

test('frozen input is accepted', () => {
  resolveOptions(Object.freeze({ backends: Object.freeze([target]) }) as unknown as ProxyOptions)
})

test('groups.default is the unnamed group', () => {
  const { groups, routes } = resolveOptions({ groups: { default: { target } } })
  assert.deepEqual([...groups.keys()], ['default'])
  assert.equal(routes[0]?.group, 'default')
})

test('a fault has the path, value, allowed values and an example', () => {
  const faults = faultsOf({ backends: [target, { url: 'http://b', weight: -3 }] })
  assert.deepEqual(faults, [
    {
      path: 'backends[1].weight',
      message: 'is -3',
      value: -3,
      allowed: 'a number from 0 to 1000000',
      example: 2,
    },
  ])
})

test('all faults are reported at once, also contradictions', () => {
  const faults = faultsOf({
    backends: ['nonsense', { url: 'http://b', weight: 'heavy' }, 'http://c', 'http://c'],
    target,
    balancer: 'round-robbin',
    timeouts: { connect: -1, heders: 5 },
    retry: { maxRetries: 1.5 },
    groups: { api: {}, empty: { backends: [] } },
    routes: [{ path: 'api', group: 'apu' }],
    trustedProxies: ['10.0.0.0/8', '10.0.0.0/99'],
    nonsense: true,
  })
  assert.deepEqual(faults.map((fault) => fault.path).sort(), [
    'backends[0]',
    'backends[1].weight',
    'backends[3]',
    'balancer',
    'groups.api.backends',
    'nonsense',
    'retry.maxRetries',
    'routes[0].group',
    'routes[0].path',
    'target',
    'timeouts.connect',
    'timeouts.heders',
    'trustedProxies[1]',
  ])
})

test('the error is a TypeError with a code and a complete message', () => {
  const error = errorOf({ backends: [{ url: 'ftp://x', weight: -3 }] })
  assert.ok(error instanceof OptionsError && error instanceof TypeError)
  assert.equal(error.code, 'ERR_PROXY_OPTIONS')
  assert.equal(error.name, 'OptionsError')
  assert.match(error.message, /^2 options are wrong:\n/)
  assert.match(error.message, /backends\[0\]\.url is invalid: "ftp:\/\/x" is not a backend URL/)
  assert.match(error.message, /backends\[0\]\.weight is -3\n {4}allowed: a number from 0 to 1000000\n {4}example: 2/)
})

test('what is allowed is said once for all mistakes of a kind', () => {
  const { message } = errorOf({ target, changeOrigin: true, timeouts: { connect: '2s' }, secure: false })
  const ofTimeout = / {2}timeouts\.connect is '2s'\n {4}allowed: .*\n {4}example: 5000\n/
  const ofNames = / {2}changeOrigin is .*\n {2}secure is .*\n {4}allowed: .*\n {4}example: .*$/
  assert.match(message, new RegExp(`^3 options are wrong:\n${ofTimeout.source}${ofNames.source}`))
})

test('the example for a target beside backends is a target', () => {
  const fault = faultsOf({ target, backends: [target] }).find(({ path }) => path === 'target')
  assert.equal(fault?.example, 'http://127.0.0.1:3000')
})

test('unknown options are faults with a suggestion, also toString', () => {
  const unknown: [key: string, message: RegExp][] = [
    ['routs', /did you mean routes\?/],
    ['retries', /here it is retry: \{ maxRetries \}/],
    ['proxies', /did you mean trustedProxies\?/],
    ['timeout', /timeouts: \{ idle, total \}/],
    ['changeOrigin', /hostHeader: 'backend'/],
    ['toString', /is unknown/],
    ['constructor', /is unknown/],
    ['__proto__', /is unknown/],
    ['hasOwnProperty', /is unknown/],
  ]
  for (const [key, message] of unknown) {
    const input: unknown = JSON.parse(`{ "target": "${target}", ${JSON.stringify(key)}: 1 }`)
    const faults = faultsOf(input)
    assert.deepEqual(
      faults.map((fault) => fault.path),
      [key],
    )
    assert.match(faults[0]?.message ?? '', message)
  }
  assert.deepEqual(pathsOf({ backends: [{ url: target, toString: 1 }], retry: { valueOf: 1 } }), [
    'backends[0].toString',
    'retry.valueOf',
  ])
})

test('a route to an unknown group suggests the nearest one', () => {
  const [fault] = faultsOf({ groups: { payments: { target }, search: { target } }, routes: [{ group: 'payment' }] })
  assert.equal(fault?.path, 'routes[0].group')
  assert.equal(fault?.message, "is 'payment', but there is no such group; did you mean 'payments'?")
  assert.equal(fault?.allowed, 'one of the groups: payments, search')
  assert.equal(fault?.example, 'payments')
})

test('a route to a missing unnamed group is a fault', () => {
  const paths = pathsOf({ groups: { api: { target } }, routes: [{ path: '/x' }, { path: '/', group: 'api' }] })
  assert.deepEqual(paths, ['routes[0].group'])
})

test('groups without routes and policies without a group are faults', () => {
  assert.deepEqual(pathsOf({ groups: { api: { target } } }), ['routes'])
  assert.deepEqual(pathsOf({ groups: { api: { target } }, routes: [] }), ['routes'])
  const orphan = { groups: { api: { target } }, routes: [{ group: 'api' }], retry: false, balancer: 'random' }
  assert.deepEqual(pathsOf(orphan), ['balancer', 'retry'])
})

test('missing backends are a fault', () => {
  assert.deepEqual(pathsOf({ routes: [{ group: 'a' }] }), ['routes[0].group'])
  assert.deepEqual(pathsOf({ target, groups: { a: {} }, routes: [{}] }), ['groups.a.backends'])
  assert.deepEqual(pathsOf({ target, groups: { default: { target } } }), ['groups.default'])
})

test('without any backends there is an empty unnamed group, for calls with a target', () => {
  for (const options of [{}, { groups: {} }, { retry: false, pool: { maxConnections: 1 } }] as const) {
    const { groups, routes } = resolveOptions(options)
    assert.deepEqual(
      Array.from(groups.values(), ({ name, backends }) => [name, backends]),
      [['default', []]],
    )
    assert.equal(routes.length, 1)
  }
})

test('ids are unique in a group', () => {
  assert.deepEqual(pathsOf({ backends: ['http://a/x', 'http://a/y'] }), ['backends[1]'])
  assert.deepEqual(
    pathsOf({
      groups: {
        g: {
          backends: [
            { url: 'http://a', id: 'x' },
            { url: 'http://b', id: 'x' },
          ],
        },
      },
    }),
    ['groups.g.backends[1]', 'routes'],
  )
  resolveOptions({ backends: ['http://a', { url: 'http://a', id: 'again' }] })
})

test('backend URLs are checked by the backend itself', () => {
  for (const url of [
    '',
    'a',
    '//a',
    'ws://a',
    'http://',
    'http://a?x',
    'http://a#x',
    'http://u:p@a',
    'http+unix://x',
  ]) {
    assert.deepEqual(pathsOf({ target: url }), ['target'], url)
    assert.deepEqual(pathsOf({ backends: [{ url }] }), ['backends[0].url'], url)
  }
})

test('messages do not contain secrets', () => {
  const error = errorOf({
    target: 'http://user:hunter2@a',
    retry: { key: 'hunter2' },
    pool: ['hunter2'],
    logger: { hunter2: 1 },
  })
  assert.doesNotMatch(inspect(error), /hunter2/)
  assert.ok(error.faults.some((fault) => inspect(fault.value).includes('hunter2')))
})

test('options that are not an object are a fault', () => {
  for (const input of [undefined, null, 5, 'http://a', [], [target], new Map(), () => {}]) {
    assert.deepEqual(pathsOf(input), [''], inspect(input))
  }
  assert.deepEqual(
    pathsOf({ target, timeouts: [], limits: new Date(), groups: new Map() }),
    ['timeouts', 'limits', 'groups'].sort(),
  )
})

test('invalid values of each kind are faults', () => {
  const wrong: [options: object, path: string][] = [
    [{ accessLog: 'apache' }, 'accessLog'],
    [{ accessLog: { format: 'json' } }, 'accessLog.write'],
    [{ accessLog: { format: 'x', write: () => {} } }, 'accessLog.format'],
    [{ balancer: { name: 'peak-ewma', decay: 1 } }, 'balancer.decay'],
    [{ balancer: { name: 'nope' } }, 'balancer.name'],
    [{ balancer: {} }, 'balancer.name'],
    [{ balancer: { name: 'consistent-hash', boundedLoad: 50 } }, 'balancer.boundedLoad'],
    [{ balancer: { name: 'consistent-hash', by: { cookie: '' } } }, 'balancer.by.cookie'],
    [{ balancer: null }, 'balancer'],
    [{ clock: { now: () => 0 } }, 'clock'],
    [{ drainTimeoutMs: Number.POSITIVE_INFINITY }, 'drainTimeoutMs'],
    [{ healthCheck: { statuses: [42] } }, 'healthCheck.statuses[0]'],
    [{ healthCheck: true }, 'healthCheck'],
    [{ healthCheck: { probe: { path: 'healthz' } } }, 'healthCheck.probe.path'],
    [{ healthCheck: { probe: { host: 'a b' } } }, 'healthCheck.probe.host'],
    [{ healthCheck: { probe: { fall: 0 } } }, 'healthCheck.probe.fall'],
    [{ healthCheck: { probe: { intervalMs: 0 } } }, 'healthCheck.probe.intervalMs'],
    [{ hostHeader: 'target' }, 'hostHeader'],
    [{ limits: { maxBodyBytes: '1mb' } }, 'limits.maxBodyBytes'],
    [{ limits: { maxConnections: 1.5 } }, 'limits.maxConnections'],
    [{ limits: { maxHeadBytes: 0 } }, 'limits.maxHeadBytes'],
    [{ limits: { maxHeaders: 0 } }, 'limits.maxHeaders'],
    [{ limits: { maxRequestsPerConnection: -1 } }, 'limits.maxRequestsPerConnection'],
    [{ limits: { maxConnectionAgeMs: -1 } }, 'limits.maxConnectionAgeMs'],
    [{ limits: { http2: { maxStreams: 0 } } }, 'limits.http2.maxStreams'],
    [{ limits: { http2: { windowBytes: 65_534 } } }, 'limits.http2.windowBytes'],
    [{ limits: { http2: { maxDemerits: 9 } } }, 'limits.http2.maxDemerits'],
    [{ limits: { maxTargetBytes: 0 } }, 'limits.maxTargetBytes'],
    [{ limits: { headTimeoutMs: '1s' } }, 'limits.headTimeoutMs'],
    [{ limits: { requestTimeoutMs: 2 ** 31 } }, 'limits.requestTimeoutMs'],
    [{ logger: 'loud' }, 'logger'],
    [{ logger: { info: () => {} } }, 'logger'],
    [{ pool: { acquire: () => {} } }, 'pool'],
    [{ pool: { maxConnections: 0 } }, 'pool.maxConnections'],
    [{ pool: { maxInterimResponses: -1 } }, 'pool.maxInterimResponses'],
    [{ pool: { pingMs: -1 } }, 'pool.pingMs'],
    [{ pool: { maxConnections: Number.NaN } }, 'pool.maxConnections'],
    [{ retry: null }, 'retry'],
    [{ routes: {} }, 'routes'],
    [{ routes: [{ exact: 1 }] }, 'routes[0].exact'],
    [{ routes: [{ host: 'a:80' }] }, 'routes[0].host'],
    [{ routes: [{ host: '*' }] }, 'routes[0].host'],
    [{ routes: [{ host: '' }] }, 'routes[0].host'],
    [{ routes: [{ method: [], path: '/a?b' }] }, 'routes[0].path'],
    [{ routes: [{ method: 'GE T' }] }, 'routes[0].method'],
    [{ routes: [{ requestHeaders: { set: { 'a b': 'x' } } }] }, 'routes[0].requestHeaders.set["a b"]'],
    [{ routes: [{ requestHeaders: { set: { a: 'x\n' } } }] }, 'routes[0].requestHeaders.set.a'],
    [{ routes: [{ responseHeaders: { remove: ['connection'] } }] }, 'routes[0].responseHeaders.remove[0]'],
    [{ routes: [{ stripPrefix: 'api' }] }, 'routes[0].stripPrefix'],
    [{ routes: [{ transforms: [{}] }] }, 'routes[0].transforms[0]'],
    [{ trustedProxies: 'loopback' }, 'trustedProxies'],
    [{ via: 'a b' }, 'via'],
    [{ xfwd: 'yes' }, 'xfwd'],
  ]
  for (const [options, path] of wrong) assert.deepEqual(pathsOf({ target, ...options }), [path], inspect(options))
  assert.deepEqual(pathsOf({ backends: [{ url: target, tls: { key: 5 } }] }), ['backends[0].tls.key'])
  assert.deepEqual(pathsOf({ backends: [{ weight: 1 }] }), ['backends[0].url'])
  assert.deepEqual(pathsOf({ backends: [undefined] }), ['backends[0]'])
})

test('any input gives options or an OptionsError with complete faults', () => {
  const keys = [
    'backends',
    'target',
    'balancer',
    'pool',
    'healthCheck',
    'retry',
    'timeouts',
    'groups',
    'routes',
    'logger',
  ]
  const more = ['accessLog', 'trustedProxies', 'via', 'limits', 'clock', 'url', 'name', 'group', 'path', 'host', 'x']
  const key = fc.constantFrom(...keys, ...more, '__proto__')
  const leaf = fc.oneof(
    fc.constantFrom(undefined, null, target, false, 0, -1, '/', 'default', () => {}),
    fc.string(),
  )
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, leaf, fc.array(tie('value'), { maxLength: 3 }), fc.dictionary(key, tie('value'))),
  }))
  fc.assert(
    fc.property(fc.dictionary(key, value), (input) => {
      try {
        resolveOptions(input as ProxyOptions)
      } catch (error) {
        assert.ok(error instanceof OptionsError, inspect(error))
        assert.ok(error.faults.length > 0)
        for (const fault of error.faults) assert.ok(fault.allowed !== '' && fault.message !== '')
      }
    }),
    { seed: 11, numRuns: 2000 },
  )
})

test('the defaults in docstrings are correct', () => {
  const files = [
    'src/config/options.ts',
    'src/health-checks/consecutive-failures.ts',
    'src/pools/settings.ts',
    'src/retry-policies/budgeted.ts',
  ]
  const source = files.map((file) => readFileSync(file, 'utf8')).join('\n')
  const documented = new Map<string, string>()
  for (const [, value, key] of source.matchAll(/Default:? ([^.:,;]+)[^\n]*\*\/\n {2}(\w+)\?:/g))
    documented.set(key ?? '', value ?? '')
  const { defaults } = allDefaults()
  for (const [key, value] of Object.entries(defaults)) {
    if (documented.has(key))
      assert.equal(documented.get(key)?.replace(/[`']/g, ''), inspect(value).replace(/'/g, ''), key)
  }
  assert.ok(documented.size > 15)
})

function allDefaults() {
  const options = resolveOptions({ target })
  const { pool } = options.groups.get('default') as ResolvedGroup
  const { xfwd, hostHeader, drainTimeoutMs } = options
  return { defaults: { ...options.timeouts, ...options.limits, ...pool, xfwd, drainTimeoutMs, hostHeader } }
}

function errorOf(input: unknown): OptionsError {
  try {
    resolveOptions(input as ProxyOptions)
  } catch (error) {
    if (error instanceof OptionsError) return error
    throw error
  }
  throw new assert.AssertionError({ message: `accepted: ${inspect(input)}` })
}

function faultsOf(input: unknown): OptionFault[] {
  return [...errorOf(input).faults]
}

function pathsOf(input: unknown): string[] {
  return faultsOf(input)
    .map((fault) => fault.path)
    .sort()
}
