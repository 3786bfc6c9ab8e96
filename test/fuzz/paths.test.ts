import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { resolveOptions } from '../../src/config/resolve.ts'
import type { RouteOptions } from '../../src/index.ts'
import type { EncodedSlashes } from '../../src/model/path.ts'
import { assemble } from '../../src/proxy/assemble.ts'
import { createRouter, type RouteRule, type Router } from '../../src/routing/router.ts'
import { nextContext } from '../../src/threads/context.ts'
import { addPrefix, stripPrefix } from '../../src/transforms/index.ts'
import { caseCount, seed } from './mutator.ts'

/*
 * Our reading of paths against a small reference: what most servers do with a path, in the words of their manuals. It
 * shares no code with ours, and it reads only what we send.
 */

/** How servers differ. */
interface Server {
  readonly joinsSlashes: boolean
  /** Where dots are resolved: before the path is decoded, or after, when `%2F` has become a slash. */
  readonly decodesFirst: boolean
  readonly dropsParameters: boolean
}

const SERVERS: Server[] = [true, false].flatMap((joinsSlashes) =>
  [true, false].flatMap((decodesFirst) =>
    [true, false].map((dropsParameters) => ({ joinsSlashes, decodesFirst, dropsParameters })),
  ),
)

function decoded(path: string): string {
  return path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function withoutDots(path: string): string {
  const out: string[] = []
  const parts = path.split('/').slice(1)
  for (const [index, part] of parts.entries()) {
    const isDot = part === '.' || part === '..'
    if (part === '..') out.pop()
    if (!isDot) out.push(part)
    else if (index === parts.length - 1) out.push('')
  }
  return `/${out.join('/')}`
}

/** The path that `server` acts on. */
function readBy(server: Server, sent: string): string {
  let path = sent.split('?')[0] as string
  if (server.dropsParameters) path = path.replace(/;[^/]*/g, '')
  if (server.decodesFirst) path = decoded(path).replaceAll('\\', '/')
  if (server.joinsSlashes) path = path.replace(/\/+/g, '/')
  path = withoutDots(path)
  return server.decodesFirst ? path : decoded(path)
}

const piece = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('/', '/', '/', 'admin', 'api', 'v1', 'a', 'b', 'x') },
  { weight: 3, arbitrary: fc.constantFrom('.', '..', '%2e', '%2E%2e', '.%2e', '//', '/./', '/../') },
  {
    weight: 2,
    arbitrary: fc.constantFrom('%2f', '%2F', '%5c', '%00', '%252f', '%25', '%61dmin', '%61', 'ap%69', '%76%31'),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      ';',
      ';a=1',
      '..;',
      '%3b',
      '%c0%ae',
      '%c0%af',
      '%',
      '%6',
      '%zz',
      '%u002f',
      '@',
      '%40',
      '+',
      '*',
      '~',
      '%7E',
    ),
  },
)
const target = fc
  .tuple(fc.array(piece, { maxLength: 12 }), fc.constantFrom('', '?', '?x=/../admin%2f', '?//%'))
  .map(([pieces, query]) => `/${pieces.join('')}${query}`)

const ROUTES: RouteOptions[] = [
  { path: '/admin' },
  { path: '/api' },
  { path: '/api/v1' },
  { path: '/a/b', exact: true },
  { path: '/@x' },
  { path: '/' },
]
const runs = { seed, numRuns: caseCount(20_000) }

function routerOf(encodedSlashes: EncodedSlashes, routes: RouteOptions[], backend = 'http://127.0.0.1:1') {
  const options = resolveOptions({ target: backend, routes, routing: { encodedSlashes } })
  return assemble(options, nextContext()).core.snapshot.router
}

for (const encodedSlashes of ['refuse', 'decode', 'pass'] as const) {
  test(`${encodedSlashes}: what a backend reads has the route that was chosen`, () => {
    const router = routerOf(encodedSlashes, ROUTES)
    fc.assert(
      fc.property(target, (given) => {
        const read = router.resolve('GET', given, 'x')
        if (read.fault !== null) return
        const chosen = read.route?.path
        for (const server of SERVERS) {
          // Encoded slashes that pass are for servers that do not take them for slashes; parameters are a matter of routes.
          if (server.decodesFirst && encodedSlashes === 'pass') continue
          if (server.dropsParameters && /;|%3b/i.test(read.path)) continue
          const theirs: string = readBy(server, read.path).replace(/\/+/g, '/')
          if (encodedSlashes === 'pass' && /%(?:2f|5c)/i.test(read.path)) continue
          assert.equal(
            routeFor(encodedSlashes, theirs),
            chosen,
            `${given} was sent as ${read.path}, and read as ${theirs}`,
          )
        }
      }),
      runs,
    )
  })

  test(`${encodedSlashes}: what is sent is read as it was sent, however often`, () => {
    const router = routerOf(encodedSlashes, ROUTES)
    fc.assert(
      fc.property(target, (given) => {
        const read = router.resolve('GET', given, 'x')
        if (read.fault !== null) return
        assert.deepEqual(router.resolve('GET', read.path, 'x'), read)
      }),
      runs,
    )
  })
}

/** The route of a path that a server has read, found without our reading. */
function routeFor(encodedSlashes: EncodedSlashes, path: string): string | undefined {
  const options = { target: 'http://127.0.0.1:1', routes: ROUTES, routing: { encodedSlashes } }
  const table = tables[encodedSlashes] ?? createRouter(resolveOptions(options).routes)
  tables[encodedSlashes] = table
  return table.match('GET', 'x', path)?.path
}
const tables: Partial<Record<EncodedSlashes, Router<RouteRule>>> = {}

test('no path leads a backend out of the path that goes before it', () => {
  const { confine } = routerOf('refuse', [])
  fc.assert(
    fc.property(target, (given) => {
      const { path, fault } = confine(given)
      if (fault !== null) return
      for (const server of SERVERS) {
        const theirs = readBy(server, `/tenant-a${path}`)
        assert.ok(
          theirs === '/tenant-a' || theirs.startsWith('/tenant-a/'),
          `${given} became ${path}, read as ${theirs}`,
        )
      }
    }),
    runs,
  )
})

test('a prefix that routes see is stripped whole, and what is added goes before all', () => {
  const router = routerOf('refuse', ROUTES)
  const [strip, add] = [stripPrefix('/api'), addPrefix('/new')]
  fc.assert(
    fc.property(target, (given) => {
      const read = router.resolve('GET', given, 'x')
      if (read.fault !== null) return
      const request = { method: 'GET', path: read.path, headers: {} as never }
      strip.request?.(request, { target: given } as never)
      const wasStripped = request.path !== read.path
      const chosen = read.route?.path ?? ''
      assert.equal(wasStripped, chosen.startsWith('/api'), `${given}: ${chosen}, ${request.path}`)
      add.request?.(request, { target: given } as never)
      for (const server of SERVERS) {
        const theirs = readBy(server, request.path)
        assert.ok(theirs === '/new' || theirs.startsWith('/new/'), `${given} became ${request.path}, read as ${theirs}`)
      }
    }),
    runs,
  )
})

test('where nobody looks at paths none is changed or refused', () => {
  const router = routerOf('refuse', [{}])
  fc.assert(
    fc.property(target, (given) => {
      assert.equal(router.resolve('GET', given, 'x').path, given)
      assert.equal(router.resolve('GET', given, 'x').fault, null)
    }),
    { ...runs, numRuns: 1000 },
  )
})
