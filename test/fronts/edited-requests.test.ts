import assert from 'node:assert/strict'
import http, { type IncomingMessage } from 'node:http'
import { describe, test } from 'node:test'
import { fieldValue } from '../../src/http1/fields.ts'
import { type ExchangeView, type Proxy, ProxyError, type ProxyOptions, type Transform } from '../../src/index.ts'
import { APPLICATIONS, type Code } from '../support/applications.ts'
import { interceptor } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { type RunningProxy, runInServer } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

type Change = (req: IncomingMessage) => void

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

for (const { name, ask, hasResponse, isUpgrade, passesErrors, run } of APPLICATIONS) {
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
    const watch = (proxy: Proxy): void => {
      proxy.on('request', (exchange) => {
        view = exchange
      })
    }
    await using front = await run({ target: backend.url, retry: false, ...options }, { before: change }, watch)
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
      const kept = isUpgrade ? ['X-B: 1', 'x-a: 2', 'Cookie: a=1', 'User-Agent: u', 'X-C:'] : repeated
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
      for (const forged of [
        ['Connection: X-User-Id', 'X-User-Id: forged'],
        ['X-User-Id: forged', 'Connection: X-User-Id'],
      ]) {
        const { value: nominated } = await pass(forged, (req) => {
          req.headers['x-user-id'] = 'alice'
        })
        assert.equal(nominated('x-user-id'), 'alice')
      }
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

    test('a Host in any case, or in a list, counts for routes too', async () => {
      for (const change of [
        (req) => Object.assign(req.headers, { Host: 'inner.example' }),
        (req) => Object.assign(req.headers, { host: ['inner.example'] }),
        (req) => Object.assign(req, { headers: { HOST: 'inner.example', 'X-Whole': '1' } }),
      ] as Change[]) {
        const { value, view } = await pass(['X-Other: 1'], change, { routes: [{ host: 'inner.example' }] })
        assert.equal(value('host'), 'inner.example', String(change))
        assert.equal(view?.host, 'inner.example')
      }
    })

    test('req.headers that the application replaces whole is what the backend gets', async () => {
      const { lines } = await pass(
        ['X-Other: 1', 'Cookie: a=1'],
        (req) => {
          req.headers = {
            Host: 'inner.example',
            'X-Own': ['1', '2'],
            'x-number': 3 as unknown as string,
            Cookie: 'b=2',
          }
        },
        { xfwd: false },
      )
      assert.deepEqual(lines, ['Host: inner.example', 'Cookie: b=2', 'X-Own: 1', 'X-Own: 2', 'x-number: 3'])
    })

    test('transforms and interceptors see what the application has changed', async () => {
      const seen: unknown[] = []
      const interceptors = [
        interceptor((next, exchange, request, body, sink) => {
          seen.push(
            request.method,
            request.path,
            fieldValue(request.headers, 'x-user-id'),
            exchange.header('x-user-id'),
          )
          next(exchange, { ...request, headers: [...request.headers, 'X-Last', 'interceptor'] }, body, sink)
        }),
      ]
      const transforms: Transform[] = [
        {
          name: 'test',
          request(request, exchange) {
            seen.push(request.method, request.path, request.headers.get('x-user-id'), exchange.header('cookie'))
            request.headers.set('X-User-Id', 'route')
          },
        },
      ]
      const { requestLine, value } = await pass(
        ['X-User-Id: forged', 'Cookie: a=1'],
        (req) => {
          req.headers['x-user-id'] = 'alice'
          delete req.headers.cookie
          req.url = '/changed?a=1'
          req.method = 'PURGE'
        },
        { routes: [{ path: '/changed', method: 'PURGE', interceptors, transforms }] },
        '/received',
      )
      assert.deepEqual(seen, ['PURGE', '/changed?a=1', 'alice', undefined, 'PURGE', '/changed?a=1', 'route', 'alice'])
      assert.equal(requestLine, 'PURGE /changed?a=1 HTTP/1.1')
      assert.deepEqual([value('x-user-id'), value('x-last'), value('cookie')], ['route', 'interceptor', undefined])
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

    test('a line that the application has put into both rawHeaders and headers is checked too', async () => {
      for (const [field, bad] of [
        ['X-User', 'a\r\nX-Evil: 1'],
        ['X-User', 'a\nX-Evil: 1'],
        ['X-User', 'caf\u0117\u010d\u010aX-Evil: 1'],
        ['X-User: 1\r\nX-Evil', '1'],
        ['X-User ', '1'],
      ] as const) {
        for (const [first, more] of [
          [false, {}],
          [true, { 'x-more': '1' }],
        ] as const) {
          const { requestLine, response, front } = await pass(['X-Other: 1'], (req) => {
            const line = { [field.toLowerCase()]: bad }
            Object.assign(req.headers, line, more)
            if (first) req.rawHeaders.unshift(field, bad)
            else req.rawHeaders.push(field, bad)
          })
          assert.match(response, /^HTTP\/1\.1 500 .*\(ERR_PROXY_HOOK\)\n$/s)
          assert.equal(requestLine, '')
          assert.match(front.errors[0]?.message ?? '', /x-user/i)
        }
      }
    })

    test('req.headers that is no object of names and values is 500, and the backend hears nothing', async () => {
      for (const headers of [new Headers({ 'x-user': 'a' }), new Map([['host', 'a']]), ['host', 'a'], 'host: a']) {
        const { requestLine, response, front } = await pass([], (req) => Object.assign(req, { headers }))
        assert.match(response, /^HTTP\/1\.1 500 .*\(ERR_PROXY_HOOK\)\n$/s)
        assert.equal(requestLine, '')
        assert.match(front.errors[0]?.message ?? '', /req\.headers.*plain object/)
      }
    })

    if (passesErrors) {
      test('with passErrors the application gets the error of its own change', async () => {
        await using backend = await rawBackend()
        const seen: unknown[] = []
        const code: Code = {
          before: ({ headers }) => void Object.assign(headers, { 'x-user': 'a\r\nb' }),
          onError(error, _req, res) {
            seen.push(error)
            res.writeHead(418).end()
          },
        }
        await using front = await run({ target: backend.url, routes: [{ interceptors: [] }] }, code)
        assert.match((await converse(front.port, ask([]))).text, /^HTTP\/1\.1 418 /)
        assert.deepEqual(
          seen.map((error) => error instanceof ProxyError && error.code),
          ['ERR_PROXY_HOOK'],
        )
      })
    }

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
        (req) => (req.method = ['GET'] as unknown as string),
        (req) => (req.method = 7 as unknown as string),
        (req) => (req.url = ['/x'] as unknown as string),
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

    test('a client whose GET became HEAD gets a whole response', async () => {
      await using backend = await rawBackend(({ socket }) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'))
      for (const interceptors of [[], [interceptor((next, ...args) => next(...args))]]) {
        const code = { before: (req: IncomingMessage) => void Object.assign(req, { method: 'HEAD' }) }
        await using front = await run({ target: backend.url, retry: false, routes: [{ interceptors }] }, code)
        const { text } = await converse(front.port, ask([]))
        assert.match(text, /^HTTP\/1\.1 200 .*\r\n\r\n$/s)
        // Of an upgrade nobody knows which method node has read. Its connection ends.
        if (hasResponse) assert.doesNotMatch(text, /content-length: [1-9]/i)
      }
      assert.match(backend.heads[0] ?? '', /^HEAD /)
    })

    test('a client whose HEAD became GET gets no body, or the end of its connection', async () => {
      const change = (req: IncomingMessage): void => void Object.assign(req, { method: 'GET' })
      const { requestLine, response } = await pass([], change, {}, '/', 'HEAD')
      assert.equal(requestLine, 'GET / HTTP/1.1')
      assert.match(response, !hasResponse ? /^HTTP\/1\.1 200 .*\r\n\r\n(?:ok)?$/s : /^HTTP\/1\.1 200 .*\r\n\r\n$/s)
    })

    test('a method that the application sets is sent', async () => {
      const { requestLine } = await pass([], (req) => {
        req.method = 'PURGE'
      })
      assert.equal(requestLine, 'PURGE / HTTP/1.1')
    })
  })
}

test('an ignored upgrade is one request, whatever the application puts into rawHeaders', async () => {
  await using backend = await rawBackend(({ socket }) => socket.end('HTTP/1.1 204 No Content\r\n\r\n'))
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer().on('upgrade', (req, socket, head) => {
      req.rawHeaders.push('X-User', 'a\r\n\r\nGET /evil HTTP/1.1\r\nHost: a')
      req.rawHeaders.push('Connection', 'a\r\nHost: b\r\n\r\nGET /evil HTTP/1.1\r\nHost: a')
      proxy.ws(req, socket, head)
    }),
  )
  const { text } = await converse(front.port, upgradeRequest({ protocol: 'h2c' }))
  assert.match(text, /^HTTP\/1\.1 204 /)
  assert.equal(backend.heads.length, 1)
  assert.match(backend.heads[0] ?? '', /^GET \/ HTTP\/1\.1\r\n/)
  assert.doesNotMatch(backend.heads[0] ?? '', /evil/)
  assert.equal(front.proxy.stats().exchanges, 1)
})

for (const [what, lines, changed] of [
  ['shorter than it is', ['Content-Length: 11'], ['Content-Length', '2']],
  ['longer than it is', ['Content-Length: 11'], ['Content-Length', '20']],
  ['and not in chunks', ['Transfer-Encoding: chunked'], ['Content-Length', '2']],
] as const) {
  for (const intercepted of [false, true]) {
    test(`rawHeaders that announce a body ${what} end the request${intercepted ? ', with an interceptor' : ''}`, async () => {
      await using backend = await rawBackend()
      const interceptors = intercepted ? [interceptor((next, ...args) => next(...args))] : []
      await using front = await runInServer({ target: backend.url, routes: [{ interceptors }], xfwd: false }, (proxy) =>
        http.createServer((req, res) => {
          req.rawHeaders.splice(2, 2, ...changed)
          req.headers = { host: 'a', [changed[0].toLowerCase()]: changed[1], connection: 'close' }
          proxy.web(req, res)
        }),
      )
      const body = lines[0].startsWith('C') ? 'hello world' : 'b\r\nhello world\r\n0\r\n\r\n'
      const { text } = await converse(
        front.port,
        `POST / HTTP/1.1\r\nHost: a\r\n${lines[0]}\r\nConnection: close\r\n\r\n${body}`,
      )
      assert.match(text, /^HTTP\/1\.1 500 .*\(ERR_PROXY_HOOK\)\n$/s)
      assert.match(front.errors[0]?.message ?? '', /length.*req\.rawHeaders/)
      // Nothing of the body that the backend could take for a request, on a connection that is not used again.
      await backend.untilOpen(0)
      const upgrade = backend.heads.length === 0 ? null : await backend.nextUpgrade()
      assert.ok((upgrade?.received.length ?? 0) <= 11)
      if (what !== 'longer than it is') assert.equal(upgrade?.received ?? '', '')
    })
  }
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
