import assert from 'node:assert/strict'
import http, { type IncomingMessage, type Server } from 'node:http'
import { describe, test } from 'node:test'
import express from 'express'
import Koa from 'koa'
import { proxyMiddleware as expressMiddleware } from '../../src/adapters/express.ts'
import { proxyMiddleware as koaMiddleware } from '../../src/adapters/koa.ts'
import type { ExchangeView, Proxy, ProxyOptions } from '../../src/index.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { type RunningProxy, runInServer } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

type Change = (req: IncomingMessage) => void

/** A way for an application to change a request before the proxy has it. */
interface Way {
  readonly name: string
  readonly serve: (proxy: Proxy, change: Change) => Server
  /** By what it is asked. */
  readonly ask: (lines: readonly string[], target?: string, method?: string) => string
}

function get(lines: readonly string[], target = '/', method = 'GET'): string {
  return [`${method} ${target} HTTP/1.1`, 'Host: example.test', 'Connection: close', ...lines, '', ''].join('\r\n')
}

function upgrade(lines: readonly string[], path = '/', method = 'GET'): string {
  return upgradeRequest({ path, method, extra: lines.map((line) => `${line}\r\n`).join('') })
}

const WAYS: readonly Way[] = [
  {
    name: 'proxy.web',
    ask: get,
    serve: (proxy, change) =>
      http.createServer((req, res) => {
        change(req)
        proxy.web(req, res)
      }),
  },
  {
    name: 'proxy.middleware',
    ask: get,
    serve(proxy, change) {
      const handle = proxy.middleware()
      return http.createServer((req, res) => {
        change(req)
        handle(req, res, (error) => res.writeHead(599).end(String(error)))
      })
    },
  },
  {
    name: 'Express',
    ask: get,
    serve(proxy, change) {
      const handle = expressMiddleware({ proxy })
      return http.createServer(
        express().use((req, res, next) => {
          change(req)
          handle(req, res, next)
        }),
      )
    },
  },
  {
    name: 'Koa',
    ask: get,
    serve: (proxy, change) =>
      http.createServer(
        new Koa()
          .use((ctx, next) => {
            change(ctx.req)
            return next()
          })
          .use(koaMiddleware({ proxy }))
          .callback(),
      ),
  },
  {
    name: 'proxy.attach, a request',
    ask: get,
    serve(proxy, change) {
      const server = http.createServer()
      proxy.attach(server)
      return server.prependListener('request', change)
    },
  },
  {
    name: 'proxy.attach, an upgrade',
    ask: upgrade,
    serve(proxy, change) {
      const server = http.createServer()
      proxy.attach(server)
      return server.prependListener('upgrade', change)
    },
  },
  {
    name: 'proxy.ws',
    ask: upgrade,
    serve: (proxy, change) =>
      http.createServer().on('upgrade', (req, socket, head) => {
        change(req)
        proxy.ws(req, socket, head)
      }),
  },
  {
    name: 'proxy.ws, where it is no upgrade for us',
    ask: (lines, path = '/', method = 'GET') =>
      upgradeRequest({ path, method, protocol: 'h2c', extra: lines.map((line) => `${line}\r\n`).join('') }),
    serve: (proxy, change) =>
      http.createServer().on('upgrade', (req, socket, head) => {
        change(req)
        proxy.ws(req, socket, head)
      }),
  },
]

/** What a backend gets of one request, and what its client gets. */
interface Passed {
  /** Lines of the head, without those of one hop. */
  readonly lines: readonly string[]
  readonly requestLine: string
  readonly value: (name: string) => string | undefined
  readonly response: string
  readonly front: RunningProxy
  readonly view: ExchangeView | null
}

const HOP = /^(?:connection|upgrade):/i

for (const { name, serve, ask } of WAYS) {
  async function pass(
    lines: readonly string[],
    change: Change,
    options: ProxyOptions = {},
    target?: string,
    method?: string,
  ): Promise<Passed> {
    await using backend = await rawBackend(({ socket }) =>
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'),
    )
    let view: ExchangeView | null = null
    await using front = await runInServer({ target: backend.url, retry: false, ...options }, (proxy) => {
      proxy.on('request', (exchange) => {
        view = exchange
      })
      return serve(proxy, change)
    })
    const { text } = await converse(front.port, ask(lines, target, method))
    const [requestLine = '', ...rest] = (backend.heads[0] ?? '').split('\r\n').filter((line) => line !== '')
    const kept = rest.filter((line) => !HOP.test(line))
    assert.ok(backend.heads.length <= 1, 'one request')
    return {
      requestLine,
      lines: kept,
      value(of) {
        const found = kept.filter((line) => line.toLowerCase().startsWith(`${of}:`))
        return found.length === 0 ? undefined : found.map((line) => line.slice(of.length + 1).trim()).join(' | ')
      },
      response: text,
      front,
      view,
    }
  }

  describe(name, () => {
    test('what the application sets in req.headers goes to the backend, in place of what the client sent', async () => {
      const { value, view } = await pass(['X-User-Id: forged', 'X-User-Id: again', 'X-Other: 1'], ({ headers }) => {
        headers['x-user-id'] = 'alice'
        headers['x-new'] = 'new'
        headers['x-list'] = ['a', 'b']
        headers['x-number'] = 7 as unknown as string
      })
      assert.equal(value('x-user-id'), 'alice')
      assert.equal(value('x-new'), 'new')
      assert.equal(value('x-list'), 'a | b')
      assert.equal(value('x-number'), '7')
      assert.equal(value('x-other'), '1')
      assert.equal(view?.header('x-user-id'), 'alice')
      assert.equal(view?.header('x-new'), 'new')
    })

    test('what the application removes from req.headers does not', async () => {
      const { value, view } = await pass(['Cookie: a=1', 'Cookie: b=2', 'X-User-Id: forged', 'X-Other: 1'], (req) => {
        delete req.headers.cookie
        req.headers['x-user-id'] = undefined
      })
      assert.equal(value('cookie'), undefined)
      assert.equal(value('x-user-id'), undefined)
      assert.equal(value('x-other'), '1')
      assert.equal(view?.header('cookie'), undefined)
    })

    test('what it leaves alone keeps its names, order and repetitions', async () => {
      const repeated = [
        'X-B: 1',
        'x-a: 2',
        'X-b: 3',
        'Cookie: a=1',
        'Cookie: b=2',
        'Set-Cookie: x',
        'User-Agent: u',
        'X-A:',
      ]
      // The carrier of upgrades joins what is repeated.
      const kept = ask === upgrade ? ['X-B: 1', 'x-a: 2', 'Cookie: a=1', 'User-Agent: u', 'X-C:'] : repeated
      for (const change of [() => {}, ({ headers }: IncomingMessage) => Object.assign(headers, { 'x-new': '1' })]) {
        const { lines } = await pass(kept, change, { xfwd: false })
        assert.deepEqual(
          lines.slice(1, 1 + kept.length).map((line) => line.trimEnd()),
          kept,
        )
      }
    })

    test('a client cannot take away what the application sets, nor say it under a name that resembles it', async () => {
      const { lines, value } = await pass(['X_User_Id: forged', 'X.User.Id: forged'], ({ headers }) => {
        headers['x-user-id'] = 'alice'
        headers.connection = 'close, X-User-Id'
      })
      assert.equal(value('x-user-id'), 'alice')
      assert.equal(lines.filter((line) => /forged/.test(line)).length, 0)
      const { value: nominated } = await pass(
        ask === get ? ['Connection: X-User-Id', 'X-User-Id: forged'] : ['X-User-Id: forged', 'Connection: X-User-Id'],
        (req) => {
          req.headers['x-user-id'] = 'alice'
        },
      )
      assert.equal(nominated('x-user-id'), 'alice')
    })

    test('how the message is framed is what node has read, whatever the application writes', async () => {
      const { value, response } = await pass([], ({ headers }) => {
        Object.assign(headers, { 'content-length': '5', 'transfer-encoding': 'chunked', expect: '100-continue' })
        Object.assign(headers, { te: 'trailers', 'keep-alive': 'timeout=1' })
      })
      assert.match(response, /^HTTP\/1\.1 200 /)
      for (const field of ['content-length', 'transfer-encoding', 'expect', 'te', 'keep-alive'])
        assert.equal(value(field), undefined, field)
    })

    test('a Host that the application sets counts for routes and for the backend', async () => {
      const options: ProxyOptions = { routes: [{ host: 'inner.example' }] }
      const { value, view } = await pass(
        [],
        ({ headers }) => {
          headers.host = 'inner.example'
        },
        options,
      )
      assert.equal(value('host'), 'inner.example')
      assert.equal(value('x-forwarded-host'), 'inner.example')
      assert.equal(view?.host, 'inner.example')
    })

    test('it counts for more than the host of an absolute target', async () => {
      const { requestLine, value, view } = await pass(
        [],
        ({ headers }) => {
          headers.host = 'inner.example'
        },
        { routes: [{ host: 'inner.example' }] },
        'http://outer.example/x',
      )
      assert.equal(requestLine, 'GET /x HTTP/1.1')
      assert.equal(value('host'), 'inner.example')
      assert.equal(view?.host, 'inner.example')
    })

    test("without the Host that the application removes, the backend's is shown", async () => {
      const { value, response } = await pass([], (req) => {
        delete req.headers.host
      })
      assert.match(response, /^HTTP\/1\.1 200 /)
      assert.match(value('host') ?? '', /^127\.0\.0\.1:\d+$/)
      assert.equal(value('x-forwarded-host'), undefined)
    })

    test('X-Forwarded-* that the application sets is its word, and nobody adds to it', async () => {
      const { value, front } = await pass(['X-Forwarded-For: 6.6.6.6', 'X-Real-IP: 6.6.6.6'], ({ headers }) => {
        headers['x-forwarded-for'] = '192.0.2.7'
        headers['x-forwarded-proto'] = 'https'
        headers['x-forwarded-prefix'] = '/app'
        headers['x-real-ip'] = '192.0.2.7'
        headers.proxy = 'http://evil'
      })
      assert.equal(value('x-forwarded-for'), '192.0.2.7')
      assert.equal(value('x-forwarded-proto'), 'https')
      assert.equal(value('x-forwarded-prefix'), '/app')
      assert.equal(value('x-forwarded-host'), 'example.test')
      assert.equal(value('x-real-ip'), '192.0.2.7')
      assert.equal(value('proxy'), undefined)
      assert.equal((await front.nextRecord()).clientAddress, '192.0.2.7')
    })

    test('X-Forwarded-For that the application removes is ours again', async () => {
      const { value } = await pass(
        ['X-Forwarded-For: 192.0.2.7'],
        (req) => {
          delete req.headers['x-forwarded-for']
        },
        { trustedProxies: ['loopback'] },
      )
      assert.equal(value('x-forwarded-for'), '127.0.0.1')
    })

    test('what cannot stand in a head is 500 and names the header; the backend hears nothing', async () => {
      for (const [field, bad] of [
        ['x-user-name', 'a\r\nX-Evil: 1'],
        ['x-user-name', 'caf\u0117\u010aX-Evil: 1'],
        ['x-user-name', { toString: () => 'x' }],
        ['x-user\r\nname', 'x'],
        ['host', 'a b'],
      ]) {
        const { requestLine, response, front } = await pass([], ({ headers }) => {
          Object.assign(headers, { [field as string]: bad })
        })
        assert.match(response, /^HTTP\/1\.1 500 .*\(ERR_PROXY_HOOK\)\n$/s)
        assert.equal(requestLine, '')
        assert.match(front.errors[0]?.message ?? '', /req\.headers.*(?:x-user|host)/i)
      }
    })

    test('a req.url that the application has decoded is encoded where that is exact', async () => {
      for (const [url, sent] of [
        ['/My Project', '/My%20Project'],
        ['/\u8303.txt?q=\u00e9', '/%E8%8C%83.txt?q=%C3%A9'],
        ['/\u{1f600}', '/%F0%9F%98%80'],
        ['/caf\xe9', '/caf\xe9'],
        // Letters whose other case is a single byte.
        ['/\u0178\u039c', '/%C5%B8%CE%9C'],
        ['', '/'],
        ['?x=1', '/?x=1'],
        ['?x=a b', '/?x=a%20b'],
        ['http://other.example/a b', '/a%20b'],
      ]) {
        const { requestLine } = await pass([], (req) => {
          req.url = url
        })
        assert.equal(requestLine, `GET ${sent} HTTP/1.1`)
      }
    })

    test('a req.url or req.method that would split the request is refused, and the backend hears nothing', async () => {
      for (const change of [
        (req) => (req.url = '/x HTTP/1.1\r\nX-Evil: 1\r\nX-Rest:'),
        (req) => (req.url = '/x\u0120HTTP/1.1\u010d\u010aX-Evil: 1\r\n'),
        (req) => (req.url = '/x\n'),
        (req) => (req.url = '/x\0'),
        (req) => (req.url = '/x\x7f'),
        (req) => (req.url = '/\ud800'),
        (req) => (req.url = '?a\r\nb'),
        (req) => (req.url = 'a b'),
        (req) => (req.url = '//\r\n'),
        (req) => (req.url = new URL('http://a/') as unknown as string),
        (req) => (req.method = 'GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET'),
        (req) => (req.method = 'G T'),
        (req) => (req.method = ''),
        (req) => (req.method = 'G\u010a'),
        (req) => (req.method = 'CONNECT'),
      ] as ((req: IncomingMessage) => unknown)[]) {
        const { requestLine, response } = await pass([], change)
        assert.match(response, /^HTTP\/1\.1 400 .*\(ERR_PROXY_BAD_REQUEST\)\n$/s, String(change))
        assert.equal(requestLine, '', String(change))
      }
    })

    test('letters whose low bytes would end a line are encoded', async () => {
      const { requestLine, lines } = await pass([], (req) => {
        req.url = '/x\u0120HTTP/1.1\u010d\u010aX-Evil:\u01201\u010d\u010a'
      })
      assert.equal(requestLine, 'GET /x%C4%A0HTTP/1.1%C4%8D%C4%8AX-Evil:%C4%A01%C4%8D%C4%8A HTTP/1.1')
      assert.ok(!lines.some((line) => line.startsWith('X-Evil')))
    })

    test('a method that the application sets is sent', async () => {
      const { requestLine } = await pass([], (req) => {
        req.method = 'PURGE'
      })
      assert.equal(requestLine, 'PURGE / HTTP/1.1')
    })
  })
}

test('an upgrade with a body stays refused, whatever the application takes out of req.headers', async () => {
  await using backend = await rawBackend((request) => request.accept())
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer().on('upgrade', (req, socket, head) => {
      delete req.headers['content-length']
      delete req.headers['transfer-encoding']
      proxy.ws(req, socket, head)
    }),
  )
  const client = rawClient(front.port)
  client.write(upgradeRequest({ extra: 'Content-Length: 5\r\n', body: 'hello' }))
  await client.ended
  assert.match(client.text, /^HTTP\/1\.1 400 /)
  assert.equal(backend.connections, 0)
})
