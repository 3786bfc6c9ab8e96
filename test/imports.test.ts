import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

/*
 * Which room of src/ may import which: everything that is not allowed here is forbidden. A room is a folder of src/, a folder of
 * pools/ or fronts/, or one of the two doors. A new room fails until it has a line in ROOMS and in docs/architecture.md.
 */

const BASE = ['runtime', 'model', 'contracts']
const PURE = [...BASE, 'http1', 'headers']
const BUILT_INS = [
  'balancers',
  'executors',
  'health-checks',
  'interceptors',
  'loggers',
  'observers',
  'retry-policies',
  'transforms',
]
const POOLS = ['pools', 'pools/http1', 'pools/http2', 'pools/standard', 'pools/upgrade']
const EXCHANGE = [...PURE, 'routing', 'groups', 'exchange']
const FRONTS = ['fronts', 'fronts/http2', 'fronts/node', 'fronts/socket', 'fronts/tunnel']
const ALL = [...EXCHANGE, ...BUILT_INS, ...POOLS, ...FRONTS, 'config', 'threads', 'proxy']

/** Stands for the argument of an `import()` that is not a literal. */
const COMPUTED = '(computed)'

/** For each room, the other rooms that it may import. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  runtime: [],
  model: ['runtime'],
  contracts: ['runtime', 'model'],
  http1: ['runtime', 'model'],
  // Names and values of fields are checked by one grammar.
  http2: ['runtime', 'model', 'http1'],
  // The grammar of names and values is HTTP/1.1's.
  headers: ['runtime', 'model', 'http1'],
  balancers: BASE,
  // A probe's connection begins as those of a pool do; that of gRPC speaks HTTP/2.
  'health-checks': [...BASE, 'http1', 'http2', 'pools'],
  interceptors: PURE,
  loggers: BASE,
  observers: BASE,
  'retry-policies': BASE,
  transforms: [...BASE, 'headers'],
  // workerThreads() is the way into threads/.
  executors: [...BASE, 'threads'],
  // Connections to backends, which both kinds of pool set up.
  pools: [...BASE, 'http1'],
  'pools/http1': [...BASE, 'http1', 'pools', 'pools/upgrade'],
  'pools/http2': [...BASE, 'http1', 'http2', 'pools'],
  'pools/standard': [...BASE, 'pools', 'pools/http1', 'pools/http2', 'pools/upgrade'],
  'pools/upgrade': [...BASE, 'http1', 'pools'],
  routing: [...BASE, 'http1'],
  groups: BASE,
  exchange: [...PURE, 'routing', 'groups'],
  // listen() joins a node:http server and a socket server, which know nothing of each other.
  fronts: [...EXCHANGE, 'fronts/node', 'fronts/socket'],
  'fronts/node': [...EXCHANGE, 'http2', 'fronts', 'fronts/tunnel'],
  'fronts/http2': [...EXCHANGE, 'http2', 'fronts'],
  'fronts/socket': [...EXCHANGE, 'fronts', 'fronts/http2', 'fronts/tunnel'],
  'fronts/tunnel': [...BASE, 'exchange'],
  threads: [...BASE, 'http1', 'fronts', 'fronts/socket'],
  config: [...PURE, ...BUILT_INS, ...POOLS],
  proxy: ALL,
  // Reads PEM as listeners do.
  acme: ['index.ts', 'runtime'],
  adapters: ['index.ts'],
  // The limit of log lines is the engine's.
  compat: ['index.ts', 'runtime'],
  // What is a port or a range of addresses, and what was probably meant by a name or a backend's address, is one rule for options,
  // flags and commands.
  cli: ['index.ts', 'runtime', 'model', 'headers', 'acme'],
  // How a connection is reset is one rule for mock backends, too.
  testing: [...BASE, 'fronts'],
  'index.ts': ALL,
  'worker.ts': ALL,
}

/** For each package, and each node module that is not free, the rooms (or single files) that may import it. */
const EXTERNAL: Readonly<Record<string, readonly string[]>> = {
  'http-proxy-3': [
    'pools/upgrade',
    'compat', // calls that only it can carry
  ],
  'ipaddr.js': ['headers'],
  eventemitter3: ['observers'],
  valibot: ['config'],
  picomatch: ['compat'],
  yaml: ['cli/config-document.ts'],
  // Sockets and servers: of pools and fronts, and of
  'node:net': [
    ...POOLS,
    ...FRONTS,
    'threads', // the main thread accepts and hands descriptors over
    'testing', // mock backends
  ],
  'node:tls': [...POOLS, ...FRONTS, 'testing', 'proxy'], // it checks a certificate that replaces another
  'node:http': [
    ...POOLS,
    ...FRONTS,
    'health-checks',
    'interceptors/auth-service.ts',
    'worker.ts',
    'cli/demo-backend.ts',
    'compat', // its listen() gives listeners node's requests and responses
  ],
  // In fronts for its types alone.
  'node:http2': ['compat', 'fronts/node'],
  'node:https': [
    ...POOLS,
    ...FRONTS,
    'acme/authority.ts', // an agent with the authority's own authorities
    'health-checks',
    'interceptors/auth-service.ts',
    'worker.ts',
  ],
  'node:worker_threads': ['threads', 'worker.ts'],
  'node:async_hooks': ['runtime', 'groups', ...POOLS, ...FRONTS],
  'node:fs': [
    'acme/store.ts',
    'cli',
    'fronts/stale-socket.ts',
    'loggers/line-writer.ts',
    'runtime/pem.ts',
    'proxy/listener-certificates.ts',
    'threads/worker-module.ts', // is the worker's file there?
  ],
  'node:fs/promises': ['cli', 'proxy'],
  'node:crypto': ['acme', 'interceptors', 'adapters/jwt-options.ts', 'runtime/pem.ts', ...FRONTS, 'proxy'],
  // They load jose and acme-client if `jwt()` and `acme()` are called.
  'node:module': ['acme/load-acme-client.ts', 'adapters/load-jose.ts'],
  'node:diagnostics_channel': ['observers'],
  'node:assert/strict': ['testing'],
  // Modules of the user's: an entry module, a configuration file in JavaScript.
  [COMPUTED]: ['worker.ts', 'cli/config-file.ts'],
}

/** Packages of which a room may import types: they leave no import in what runs. */
const TYPES: Readonly<Record<string, readonly string[]>> = {
  'acme-client': ['acme'],
  eventemitter3: ['proxy', 'threads'],
  express: ['adapters'],
  fastify: ['adapters'],
  hono: ['adapters'],
  jose: ['adapters'],
  koa: ['adapters'],
  vite: ['adapters'],
}

/** Node modules that neither read nor write anything. */
const FREE = [
  'node:events',
  'node:os',
  'node:path',
  'node:querystring',
  'node:stream',
  'node:timers/promises',
  'node:url',
  'node:util',
  'node:zlib',
]

/** What modules of {@link EXTERNAL} export that touches no socket. */
const FREE_NAMES = ['isIP', 'isIPv4', 'isIPv6', 'METHODS', 'STATUS_CODES', 'validateHeaderName', 'validateHeaderValue']

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const SRC = join(ROOT, 'src')

interface Import {
  readonly from: string
  /** A file of src/, or a module. */
  readonly to: string
  /** Nothing is left of it in what runs. */
  readonly isType: boolean
  /** Empty: the whole module. */
  readonly names: readonly string[]
}

const FILES = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .map((name) => name.replaceAll('\\', '/'))
  .filter((name) => name.endsWith('.ts'))
const IMPORTS = FILES.flatMap(importsOf)

test('each room imports only rooms that stand below it', () => {
  const breaches = IMPORTS.filter(({ to }) => FILES.includes(to)).filter(isBreach)
  assert.deepEqual(
    breaches.map(({ from, to }) => `${from} -> ${to}`),
    [],
  )
})

test('each package has its importers, and sockets have theirs', () => {
  const outside = IMPORTS.filter(({ to }) => !FILES.includes(to))
  const wrong = outside.filter((found) => !mayImportModule(found)).map(({ from, to }) => `${from} -> ${to}`)
  assert.deepEqual(wrong, [], 'EXTERNAL, TYPES and FREE in test/imports.test.ts do not allow these imports')
})

test('every file of src/ is in a room, and every room has files', () => {
  const rooms = new Set(FILES.map(roomOf))
  assert.deepEqual([...rooms].sort(), Object.keys(ROOMS).sort())
})

test('no line of the tables is left over', () => {
  const targets = (room: string) => IMPORTS.filter(({ from }) => isIn(from, room)).map(({ to }) => to)
  // Not all pools and fronts need every module of sockets, and not every adapter the types of its framework.
  const general = [...POOLS, ...FRONTS, 'adapters']
  const unused = [...Object.entries(EXTERNAL), ...Object.entries(TYPES)].flatMap(([module, rooms]) =>
    rooms
      .filter((room) => !general.includes(room) && !targets(room).includes(module))
      .map((room) => `${room} -> ${module}`),
  )
  assert.deepEqual(unused, [])
})

test('docs/architecture.md names the rooms that exist', () => {
  const text = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8')
  const plan = /^## Rooms \(src\/\)\n+```\n(.*?)^```$/ms.exec(text)?.[1]
  assert.ok(plan, 'docs/architecture.md has a code block under "## Rooms (src/)"')
  // Each line begins with the names of its rooms; two spaces end them. Lines that begin with a space go on with the one before.
  const lines = Array.from(plan.matchAll(/^(\S+(?: \S+)*)(?= {2}|$)/gm), (line) => line[1] ?? '')
  const named = lines.flatMap((names) => names.split(' ')).map((name) => name.replace(/\/$/, ''))
  const folders = new Set(FILES.map((file) => file.split('/')[0] ?? ''))
  assert.deepEqual(named.toSorted(), [...folders].sort())
  for (const room of Object.keys(ROOMS).filter((name) => name.includes('/'))) {
    const inner = `${room.split('/')[1]}/`
    assert.ok(plan.includes(inner), `docs/architecture.md does not name ${room}/`)
  }
})

function roomOf(file: string): string {
  const [first = '', second = '', ...rest] = file.split('/')
  return (first === 'pools' || first === 'fronts') && rest.length > 0 ? `${first}/${second}` : first
}

function isIn(file: string, room: string): boolean {
  return file === room || roomOf(file) === room
}

function isBreach({ from, to }: Import): boolean {
  const [room, target] = [roomOf(from), roomOf(to)]
  return room !== target && ROOMS[room]?.includes(target) !== true
}

function mayImportModule({ from, to, isType, names }: Import): boolean {
  if (to === 'node:test') return false
  // Types of node's are everybody's.
  if (FREE.includes(to) || (isType && to.startsWith('node:'))) return true
  if (to in EXTERNAL && names.length > 0 && names.every((name) => FREE_NAMES.includes(name))) return true
  const rooms = [...(EXTERNAL[to] ?? []), ...(isType ? (TYPES[to] ?? []) : [])]
  return rooms.some((room) => isIn(from, room))
}

/** Every `import`, `export ... from` and `import()` of a file. */
function importsOf(from: string): Import[] {
  const code = readFileSync(join(SRC, from), 'utf8').replace(/\/\*.*?\*\/|^\s*\/\/[^\n]*/gms, '')
  const found = code.matchAll(
    /^(?:import|export)\s([^'"=;]*?)\s?from\s*['"]([^'"]+)['"]|^import\s*['"]([^'"]+)['"]|\bimport\(\s*([^)]*?)\s*\)/gm,
  )
  return Array.from(found, ([whole, clause = '', static_, bare, dynamic]) => {
    const literal = /^(['"])(.*)\1$/.exec(dynamic ?? '')?.[2]
    const name = static_ ?? bare ?? literal ?? COMPUTED
    const isType = clause.startsWith('type ') || (clause !== '' && typesOnly(clause))
    const target = name.startsWith('.') ? join(dirname(from), name) : name
    if (name.startsWith('.')) assert.ok(existsSync(join(SRC, target)), `${from}: ${whole}`)
    return { from, to: target, isType, names: namesOf(clause) }
  })
}

/** What stands between the braces, types left out; empty if more than that is imported. */
function namesOf(clause: string): string[] {
  const braces = /^\{([^}]*)\}$/.exec(clause.trim())?.[1]
  const each = braces?.split(',').map((name) => name.trim()) ?? []
  return each.filter((name) => name !== '' && !name.startsWith('type ')).map((name) => name.split(' ')[0] ?? '')
}

function typesOnly(clause: string): boolean {
  return /^\{[^}]*\}$/.test(clause.trim()) && namesOf(clause).length === 0
}
