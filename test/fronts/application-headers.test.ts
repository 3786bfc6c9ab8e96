import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { type ProxyOptions, respond, type Transform, wrapSink } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/index.ts'
import { APPLICATIONS } from '../support/applications.ts'
import { interceptor } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { runInServer } from '../support/running-proxy.ts'
import { rawBackend } from '../support/upgrade-backends.ts'

type Application = (res: http.ServerResponse) => void

/** As on-headers does it. */
const wrapHead: Application = (res) => {
  const writeHead = res.writeHead as (...args: unknown[]) => http.ServerResponse
  res.writeHead = ((...args: unknown[]) => writeHead.apply(res, args)) as never
}

for (const [name, wrap] of [
  ['', () => {}],
  [', where writeHead is wrapped', wrapHead],
] as const) {
  async function exchange(application: Application, headers: readonly string[]): Promise<Response> {
    await using backend = await mockBackend({ headers: [...headers], body: 'x' })
    await using front = await runInServer({ target: backend.url }, (proxy) =>
      http.createServer((req, res) => {
        wrap(res)
        application(res)
        proxy.web(req, res)
      }),
    )
    return await fetch(front.url)
  }

  test(`cookies of the application and of the backend both reach the client${name}`, async () => {
    const backends = ['Set-Cookie', 'web=1; Path=/', 'set-cookie', 'more=2']
    const one = await exchange((res) => res.setHeader('Set-Cookie', 'session=abc; HttpOnly'), backends)
    assert.deepEqual(one.headers.getSetCookie(), ['session=abc; HttpOnly', 'web=1; Path=/', 'more=2'])
    const several = await exchange((res) => {
      res.setHeader('set-cookie', ['a=1', 'b=2'])
      res.appendHeader('Set-Cookie', 'c=3')
    }, backends)
    assert.deepEqual(several.headers.getSetCookie(), ['a=1', 'b=2', 'c=3', 'web=1; Path=/', 'more=2'])
    const alone = await exchange((res) => res.setHeader('Set-Cookie', 'a=1'), [])
    assert.deepEqual(alone.headers.getSetCookie(), ['a=1'])
  })

  for (const [application, backend, merged] of [
    [['Origin'], ['Accept'], 'Origin, Accept'],
    [['Origin, accept'], ['Accept', 'Accept-Encoding, ORIGIN'], 'Origin, accept, Accept-Encoding'],
    [['Origin', 'Cookie'], ['Accept'], 'Origin, Cookie, Accept'],
    [['Origin'], ['*'], '*'],
    [['*'], ['Accept'], '*'],
    [['Origin'], [], 'Origin'],
    [[], ['Accept', 'Origin'], 'Accept, Origin'],
  ] as const) {
    test(`Vary: ${application.join(' + ')} and ${backend.join(' + ')} is ${merged}${name}`, async () => {
      const response = await exchange(
        (res) => {
          if (application.length > 0) res.setHeader('Vary', [...application])
        },
        backend.flatMap((value) => ['Vary', value]),
      )
      assert.equal(response.headers.get('vary'), merged)
    })
  }

  test(`of other headers the backend's replace the application's${name}`, async () => {
    const response = await exchange(
      (res) => {
        res.setHeader('X-Both', 'application')
        res.setHeader('X-Own', 'application')
      },
      ['X-Both', 'backend'],
    )
    assert.deepEqual([response.headers.get('x-both'), response.headers.get('x-own')], ['backend', 'application'])
  })

  test(`our own responses keep what the application has set${name}`, async () => {
    const { url } = await deadPort()
    await using front = await runInServer({ target: url, retry: false }, (proxy) =>
      http.createServer((req, res) => {
        wrap(res)
        res.setHeader('Set-Cookie', ['a=1', 'b=2']).setHeader('Vary', 'Origin')
        proxy.web(req, res)
      }),
    )
    const response = await fetch(front.url)
    assert.equal(response.status, 502)
    assert.deepEqual([response.headers.getSetCookie(), response.headers.get('vary')], [['a=1', 'b=2'], 'Origin'])
  })
}

const OWN = ['Set-Cookie', 'own=1', 'Vary', 'Accept', 'X-Both', 'theirs']
const REFUSES = interceptor((_next, _exchange, _request, _body, sink) =>
  respond(sink, { status: 401, headers: [...OWN], body: 'no\n' }),
)
const PASSES = interceptor(async (next, exchange, request, body, sink) => {
  await new Promise(setImmediate)
  const changed = wrapSink(sink, { onHead: (head, flow) => sink.onHead({ ...head, bodyBytes: -1 }, flow) })
  next(exchange, request, body, changed)
})
const RESCUES = interceptor((next, exchange, request, body, sink) =>
  next(exchange, request, body, wrapSink(sink, { onError: () => respond(sink, { status: 599, headers: [...OWN] }) })),
)

const VARIES: Transform = { name: 'varies', response: ({ headers }) => headers.append('Vary', 'X') }

interface Kind {
  readonly what: string
  readonly routes: ProxyOptions['routes']
  readonly isBackendUp: boolean
  readonly status: number
  /** Whether {@link OWN} are in the response. */
  readonly hasOwn: boolean
}

const KINDS: readonly Kind[] = [
  { what: "the backend's response", routes: [{}], isBackendUp: true, status: 200, hasOwn: true },
  {
    what: "the backend's response, through an interceptor and a transform",
    routes: [{ interceptors: [PASSES], transforms: [VARIES] }],
    ...{ isBackendUp: true, status: 200, hasOwn: true },
  },
  {
    what: "an interceptor's response",
    routes: [{ interceptors: [REFUSES] }],
    ...{ isBackendUp: true, status: 401, hasOwn: true },
  },
  {
    what: "an interceptor's response to a failure",
    routes: [{ interceptors: [RESCUES] }],
    ...{ isBackendUp: false, status: 599, hasOwn: true },
  },
  { what: 'our response to a failure', routes: [{}], isBackendUp: false, status: 502, hasOwn: false },
  {
    what: 'our response to a failure, past an interceptor',
    routes: [{ interceptors: [PASSES] }],
    ...{ isBackendUp: false, status: 502, hasOwn: false },
  },
]

for (const { name, ask, hasResponse, run } of APPLICATIONS) {
  if (!hasResponse) continue
  for (const { what, routes, isBackendUp, status, hasOwn } of KINDS) {
    test(`${name}: Set-Cookie and Vary of the application are merged with ${what}`, async () => {
      await using backend = await mockBackend({ headers: [...OWN], body: 'x' })
      const target = isBackendUp ? backend.url : (await deadPort()).url
      await using front = await run(
        { target, retry: false, routes: routes ?? [] },
        {
          before: (_req, res) =>
            void res
              ?.setHeader('Set-Cookie', ['session=1', 'theme=dark'])
              .setHeader('Vary', 'Origin, accept')
              .setHeader('X-Both', 'application')
              .setHeader('X-Own', 'application')
              .setHeader('Content-Length', '77'),
        },
      )
      const { text } = await converse(front.port, ask([]))
      const value = (of: string): string[] =>
        Array.from(text.matchAll(new RegExp(`^${of}: (.*)\r$`, 'gim')), ([, found = '']) => found)
      assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `))
      assert.deepEqual(value('set-cookie'), ['session=1', 'theme=dark', ...(hasOwn ? ['own=1'] : [])])
      assert.deepEqual(value('vary'), [routes?.[0]?.transforms === undefined ? 'Origin, accept' : 'Origin, accept, X'])
      assert.deepEqual(value('x-both'), [hasOwn ? 'theirs' : 'application'])
      assert.deepEqual(value('x-own'), ['application'])
      assert.ok(!value('content-length').includes('77'))
    })
  }
}

const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'
const SIZED = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** The response to `head` where the application has set `field` before, and `wrap`ped the response. */
async function framed(head: string, answer: string, [field, value]: readonly [string, string], wrap: Application) {
  await using backend = await rawBackend(({ socket }) => void socket.write(answer))
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      wrap(res)
      res.setHeader(field, value)
      proxy.web(req, res)
    }),
  )
  const { text } = await converse(front.port, `${head}\r\nHost: a\r\nConnection: close\r\n\r\n`)
  assert.deepEqual(front.errors, [])
  const [, fields = '', body = ''] = /^HTTP\/1\.1 \d{3} .*?\r\n(.*?)\r\n\r\n(.*)$/s.exec(text) ?? []
  const kept = fields.split('\r\n').filter((line) => !/^(?:date|connection):/i.test(line))
  return { head: kept.sort(), body }
}

for (const [name, wrap] of [
  ['', () => {}],
  [', where writeHead is wrapped', wrapHead],
] as const) {
  for (const set of [
    ['Trailer', 'X-Sum'],
    ['Transfer-Encoding', 'chunked'],
    ['Content-Length', '77'],
  ] as const) {
    test(`${set[0]} of the application does not frame the response${name}`, async () => {
      const trailer = set[0] === 'Trailer' ? ['Trailer: X-Sum'] : []
      for (const [head, answer, expected] of [
        ['GET / HTTP/1.1', SIZED, { head: ['Content-Length: 2'], body: 'ok' }],
        ['GET / HTTP/1.1', CHUNKED, { head: [...trailer, 'Transfer-Encoding: chunked'], body: '2\r\nok\r\n0\r\n\r\n' }],
        ['GET / HTTP/1.0', CHUNKED, { head: [], body: 'ok' }],
        ['HEAD / HTTP/1.1', 'HTTP/1.1 200 OK\r\n\r\n', { head: [], body: '' }],
        ['GET / HTTP/1.1', 'HTTP/1.1 204 No Content\r\n\r\n', { head: [], body: '' }],
        ['GET / HTTP/1.1', 'HTTP/1.1 304 Not Modified\r\n\r\n', { head: [], body: '' }],
      ] as const) {
        assert.deepEqual(await framed(head, answer, set, wrap), expected, `${head}, ${answer}`)
      }
    })
  }

  test(`a connection that has to end does, although the application says keep-alive${name}`, async () => {
    await using backend = await mockBackend({ body: 'x' })
    const limits = { maxRequestsPerConnection: 2 }
    await using front = await runInServer({ target: backend.url, limits }, (proxy) =>
      http.createServer((req, res) => {
        wrap(res)
        res.setHeader('Connection', 'keep-alive')
        proxy.web(req, res)
      }),
    )
    const { text, ending } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(3))
    assert.deepEqual(text.match(/^connection: .*$/gim), ['Connection: keep-alive', 'Connection: close'])
    assert.equal(ending, 'end')
    assert.equal(backend.requests.length, 2)
  })
}

test("a connection that has to end does, although the application's own response says keep-alive", async () => {
  await using front = await runInServer({ target: (await deadPort()).url, retry: false }, (proxy) =>
    http.createServer((req, res) => {
      const onError = (): void => void res.writeHead(418, { Connection: 'keep-alive', 'Content-Length': 2 }).end('ok')
      proxy.web(req, res, { onError })
    }),
  )
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a b\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n')
  assert.equal(await client.ended, 'end')
  assert.equal(client.text.match(/^HTTP\/1\.1 418 /gm)?.length, 1)
})
