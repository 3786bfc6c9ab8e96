import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import express from 'express'
import {
  bufferedBody,
  createProxy,
  type ErrorPageOptions,
  errorPage,
  type Interceptor,
  respond,
} from '../../src/index.ts'
import { cutMidBody, deadPort, mockBackend, neverAnswer } from '../../src/testing/index.ts'
import { randomBytes } from '../support/bytes.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, FRONTS, gate, inHttp2, listening } from '../support/running-proxy.ts'
import { upgradeRequest } from '../support/upgrade-backends.ts'

const HTML = { accept: 'text/html,*/*;q=0.8' }
const JSON_ONLY = { accept: 'application/json' }
const PAGE = '<h1>{{status}} {{ message }}</h1><p>{{code}} {{id}} {{id}}'

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: the form of the page follows Accept`, async () => {
    const dead = await deadPort()
    await using front = await run(through(dead, [errorPage({ html: PAGE, json: true })]))
    for (const [headers, type, body] of [
      [HTML, 'text/html; charset=utf-8', '<h1>502 Bad Gateway</h1><p>ERR_PROXY_CONNECT 1 1'],
      [JSON_ONLY, 'application/json', '{"status":502,"code":"ERR_PROXY_CONNECT","message":"Bad Gateway","id":2}\n'],
      [{ accept: '*/*' }, 'text/plain; charset=utf-8', '502 Bad Gateway (ERR_PROXY_CONNECT)\n'],
      [{ accept: 'image/png' }, 'text/plain; charset=utf-8', '502 Bad Gateway (ERR_PROXY_CONNECT)\n'],
    ] as const) {
      const response = await fetch(front.url, { headers })
      assert.equal(response.status, 502)
      assert.equal(response.headers.get('content-type'), type)
      assert.equal(response.headers.get('cache-control'), 'no-store')
      assert.equal(await response.text(), body)
      const record = await front.nextRecord()
      assert.deepEqual([record.outcome, record.status, record.errorCode], ['failed', 502, 'ERR_PROXY_CONNECT'])
      assert.equal(record.responseBytes, body.length)
    }
    assert.equal(front.errors.length, 4)
  })

  test(`${name}: Accept in several lines is one list`, async () => {
    const dead = await deadPort()
    await using front = await run(through(dead, [errorPage({ html: PAGE })]))
    const lines = 'Accept: image/png\r\nAccept: text/html\r\nConnection: close'
    const { text } = await converse(front.port, `GET / HTTP/1.1\r\nHost: a\r\n${lines}\r\n\r\n`)
    assert.match(text, /<h1>502/)
  })

  test(`${name}: a text and a JSON object of your own`, async () => {
    const dead = await deadPort()
    const json = {
      errors: [{ status: '{{status}}', id: '{{ id }}', title: 'It failed: {{message}} ({{code}})', extra: null, n: 1 }],
      ok: false,
    }
    await using front = await run(through(dead, [errorPage({ text: 'Sorry! {{code}}\n', json })]))
    assert.equal(await (await fetch(front.url, { headers: HTML })).text(), 'Sorry! ERR_PROXY_CONNECT\n')
    assert.deepEqual(await (await fetch(front.url, { headers: JSON_ONLY })).json(), {
      errors: [{ status: 502, id: 2, title: 'It failed: Bad Gateway (ERR_PROXY_CONNECT)', extra: null, n: 1 }],
      ok: false,
    })
  })

  test(`${name}: the page of an exchange that no backend is available for has Retry-After`, async () => {
    await using front = await run({ backends: [], routes: [{ interceptors: [errorPage({ html: PAGE })] }] })
    const response = await fetch(front.url, { headers: HTML })
    assert.deepEqual([response.status, response.headers.get('retry-after')], [503, '1'])
    assert.equal(await response.text(), '<h1>503 Service Unavailable</h1><p>ERR_PROXY_NO_BACKEND 1 1')
  })

  test(`${name}: HEAD gets the head of the page`, async () => {
    const dead = await deadPort()
    await using front = await run(through(dead, [errorPage({ html: PAGE })]))
    const response = await fetch(front.url, { method: 'HEAD', headers: HTML })
    assert.deepEqual([response.status, response.headers.get('content-type')], [502, 'text/html; charset=utf-8'])
    assert.equal(response.headers.get('content-length'), '48')
    // The connection goes on.
    assert.equal((await fetch(front.url, { headers: HTML })).headers.get('content-length'), '48')
  })

  test(`${name}: a WebSocket handshake is refused with the page`, {
    skip: inHttp2(name, 'there is no upgrade in HTTP/2'),
  }, async () => {
    const dead = await deadPort()
    await using front = await run(through(dead, [errorPage({ html: PAGE })]))
    const { text } = await converse(front.port, upgradeRequest({ extra: 'Accept: text/html\r\nConnection: close\r\n' }))
    assert.match(text, /^HTTP\/1\.1 502 Bad Gateway\r\n/)
    assert.match(text, /\r\nContent-Type: text\/html; charset=utf-8\r\n/)
    assert.ok(text.endsWith('<h1>502 Bad Gateway</h1><p>ERR_PROXY_CONNECT 1 1'), text)
  })

  test(`${name}: a large upload to a dead backend gets the page`, async () => {
    const dead = await deadPort()
    await using front = await run(through(dead, [errorPage({ html: PAGE })]))
    const response = await fetch(front.url, { method: 'POST', headers: HTML, body: randomBytes(300_000) })
    assert.match(await response.text(), /^<h1>502/)
  })

  test(`${name}: a time limit of the backend gets the page, and a good response none`, async () => {
    await using backend = await mockBackend((incoming, reply) => {
      if (incoming.path === '/ok') reply.send({ status: 503, body: 'mine' })
    })
    await using front = await run(through(backend, [errorPage({ html: PAGE })], { timeouts: { headers: 50 } }))
    const response = await fetch(front.url, { headers: HTML })
    assert.match(await response.text(), /^<h1>504 Gateway Timeout<.*ERR_PROXY_HEADERS_TIMEOUT/)
    assert.equal(await (await fetch(`${front.url}/ok`, { headers: HTML })).text(), 'mine')
  })

  test(`${name}: a response that breaks off is truncated, and gets no page`, async () => {
    await using backend = await mockBackend(cutMidBody)
    await using front = await run(through(backend, [errorPage({ html: PAGE, statuses: [503] })]))
    const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n')
    assert.match(text, /the first half\r\n$/)
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_TRUNCATED'])
  })

  test(`${name}: backends' responses with the given statuses are replaced`, async () => {
    await using backend = await mockBackend((incoming, reply) =>
      reply.send({
        status: Number(incoming.path.slice(1)),
        headers: [
          ['Content-Type', 'text/css', 'Content-Encoding', 'x-own', 'Content-Language', 'de', 'ETag', '"1"'],
          ['Cache-Control', 'max-age=60', 'Last-Modified', 'x', 'Age', '1', 'Expires', 'x', 'Accept-Ranges', 'bytes'],
          ['Retry-After', '7', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Access-Control-Allow-Origin', '*'],
        ].flat(),
        body: 'secret',
      }),
    )
    await using front = await run(through(backend, [errorPage({ html: PAGE, json: true, statuses: [404, 503] })]))
    const response = await fetch(`${front.url}/503`, { headers: HTML })
    assert.equal(response.status, 503)
    assert.equal(await response.text(), '<h1>503 Service Unavailable</h1><p> 1 1')
    const headers = [...response.headers].filter(([header]) => !['date', 'connection', 'keep-alive'].includes(header))
    assert.deepEqual(headers, [
      ['access-control-allow-origin', '*'],
      ['cache-control', 'no-store'],
      ['content-length', '39'],
      ['content-type', 'text/html; charset=utf-8'],
      ['retry-after', '7'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
    ])
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.status, record.errorCode], ['answered', 503, null])
    assert.equal(await (await fetch(`${front.url}/404`)).text(), '404 Not Found\n')
    const json = await fetch(`${front.url}/404`, { headers: JSON_ONLY })
    assert.equal(await json.text(), '{"status":404,"message":"Not Found","id":3}\n')
    assert.equal(await (await fetch(`${front.url}/500`)).text(), 'secret')
    const head = await fetch(`${front.url}/503`, { method: 'HEAD', headers: HTML })
    assert.deepEqual([head.status, head.headers.get('content-length')], [503, '39'])
    assert.equal(front.pending(), 0)
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: a replaced response that never ends ends with its exchange`, async () => {
    const closed = gate()
    await using backend = await mockBackend((_incoming, reply) => {
      reply.closed.then(() => closed.open())
      reply.head({ status: 503 })
      reply.chunk('never')
    })
    await using front = await run(through(backend, [errorPage({ text: 'sorry', statuses: [503] })]))
    assert.equal(await (await fetch(front.url)).text(), 'sorry')
    await closed.promise
    await front.nextRecord()
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a replaced status still counts against the backend`, async () => {
    await using backend = await mockBackend({ status: 503, chunks: ['busy'] })
    await using spare = await mockBackend({ body: 'fine' })
    const { target: _, ...rest } = through(backend, [errorPage({ text: 'sorry', statuses: [503] })])
    await using front = await run({
      ...rest,
      backends: [backend.url, spare.url],
      balancer: 'first-available',
      healthCheck: { consecutiveFailures: 1, statuses: [503] },
    })
    assert.equal(await (await fetch(front.url)).text(), 'sorry')
    await front.nextRecord()
    assert.equal(await (await fetch(front.url)).text(), 'fine')
  })

  test(`${name}: render() makes the page in code`, async () => {
    const dead = await deadPort()
    const render: ErrorPageOptions['render'] = ({ status, code, message, error }, exchange) => ({
      status: 500,
      headers: ['X-Code', `${code}`, 'Retry-After', '9', 'cache-control', 'max-age=5'],
      body: `${status} ${message} ${error?.phase} ${exchange.method}`,
    })
    await using backend = await mockBackend({ status: 503, headers: { 'Retry-After': '1', 'X-Kept': '1' } })
    for (const [where, expected] of [
      [dead, '502 Bad Gateway connect GET'],
      [backend, '503 Service Unavailable undefined GET'],
    ] as const) {
      await using front = await run(through(where, [errorPage({ render, statuses: [503] })]))
      const response = await fetch(front.url)
      assert.equal(await response.text(), expected)
      const headers = ['x-code', 'retry-after', 'cache-control', 'x-kept'].map((one) => response.headers.get(one))
      const isDead = where === dead
      assert.equal(response.status, 500)
      assert.deepEqual(headers, [isDead ? 'ERR_PROXY_CONNECT' : 'null', '9', 'max-age=5', isDead ? null : '1'])
    }
  })

  for (const [kind, render] of [
    [
      'throws',
      () => {
        throw new Error('broken')
      },
    ],
    ['is asynchronous', async () => ({ status: 500 })],
    ['rejects', () => Promise.reject(new Error('broken'))],
    ['returns nothing', () => undefined],
    ['returns an invalid status', () => ({ status: 99 })],
    ['returns an invalid header', () => ({ status: 500, headers: ['A', 'b\r\nc'] })],
  ] as const) {
    test(`${name}: a render() that ${kind} is an error of the interceptor`, async () => {
      const dead = await deadPort()
      await using front = await run(through(dead, [errorPage({ render } as unknown as ErrorPageOptions)]))
      const response = await fetch(front.url)
      assert.deepEqual([response.status, await response.text()], [500, '500 Internal Server Error (ERR_PROXY_HOOK)\n'])
    })
  }

  test(`${name}: what interceptors inside respond is not replaced`, async () => {
    const dead = await deadPort()
    const inner: Interceptor = interceptor((_next, _exchange, _request, _body, sink) =>
      respond(sink, { status: 502, body: 'mine' }),
    )
    await using front = await run(through(dead, [errorPage({ text: 'sorry' }), inner]))
    assert.equal(await (await fetch(front.url)).text(), 'mine')
  })

  test(`${name}: requests that no interceptor sees get plain text`, async () => {
    await using backend = await mockBackend(neverAnswer)
    await using front = await run({
      groups: { app: { target: backend.url } },
      routes: [{ path: '/app', group: 'app', interceptors: [errorPage({ html: PAGE })] }],
      limits: { maxBodyBytes: 10 },
      timeouts: { total: 50 },
    })
    for (const [path, body, expected] of [
      ['/other', '', '404 Not Found (ERR_PROXY_NO_ROUTE)\n'],
      ['/app', 'x'.repeat(11), '413 Payload Too Large (ERR_PROXY_BODY_TOO_LARGE)\n'],
      ['/app', '', '504 Gateway Timeout (ERR_PROXY_TOTAL_TIMEOUT)\n'],
    ] as const) {
      const response = await fetch(front.url + path, { method: 'POST', headers: HTML, body })
      assert.equal(await response.text(), expected)
    }
  })

  test(`${name}: a failure of an interceptor inside gets the page, and is recorded as what it is`, async () => {
    await using backend = await mockBackend({ headers: ['Content-Type', 'text/plain'], body: 'too long' })
    const edit = bufferedBody({ maxBytes: 3, edit: (body) => body })
    await using front = await run(through(backend, [errorPage({ html: PAGE }), edit]))
    const response = await fetch(front.url, { headers: HTML })
    assert.match(await response.text(), /^<h1>50\d /)
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.status], ['failed', response.status])
    assert.match(record.errorCode ?? '', /^ERR_PROXY_/)
    assert.match(front.errors[0]?.message ?? '', /maxBytes/)
  })

  test(`${name}: a client that leaves gets no page`, async () => {
    const asked = gate()
    await using backend = await mockBackend(() => asked.open())
    await using front = await run(through(backend, [errorPage({ html: PAGE })]))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await asked.promise
    client.socket.resetAndDestroy()
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.errorCode, record.status], ['aborted', 'ERR_PROXY_CLIENT_GONE', 499])
  })
}

test('middleware of Express gets the page, and its error handler nothing', async () => {
  const dead = await deadPort()
  await using proxy = createProxy({ ...through(dead, [errorPage({ html: PAGE })]), logger: 'silent' })
  const app = express()
  app.use('/api', proxy.middleware({ passErrors: true }))
  let errors = 0
  app.use((_error: unknown, _req: unknown, res: express.Response, _next: unknown) => {
    errors++
    res.end()
  })
  const server = http.createServer(app)
  const port = await listening(server)
  const response = await fetch(`http://127.0.0.1:${port}/api/x`, { headers: { ...HTML, connection: 'close' } })
  assert.match(await response.text(), /^<h1>502 Bad Gateway/)
  assert.equal(errors, 0)
  await new Promise((resolve) => server.close(resolve))
})

test('values are escaped for HTML', async () => {
  const { run } = FRONTS[0] as (typeof ALL_FRONTS)[number]
  await using backend = await mockBackend({ status: 418 })
  await using front = await run(through(backend, [errorPage({ html: '<p title="{{message}}">', statuses: [418] })]))
  assert.equal(await (await fetch(front.url, { headers: HTML })).text(), '<p title="I&#39;m a Teapot">')
})

test('wrong options name the option, the value and what is allowed', () => {
  const cyclic: Record<string, unknown> = {}
  cyclic.self = cyclic
  for (const [options, message] of [
    [{ html: 5 }, /^error-page: html is 5; give a text$/],
    [{ html: '{{reason}}' }, /^error-page: a placeholder in html is "{{reason}}"; give {{status}}, {{code}}, /],
    [{ text: '{{ id }} {{constructor}}' }, /a placeholder in text is "{{constructor}}"/],
    [{ json: 'yes' }, /^error-page: json is "yes"; give true or an object$/],
    [{ json: { a: ['{{ids}}'] } }, /a placeholder in json is "{{ids}}"/],
    [{ json: cyclic }, /^error-page: json cannot be written as JSON; give plain data$/],
    [{ json: [] }, /json is \[\]/],
    [{ statuses: 503 }, /^error-page: statuses is 503; give a list of statuses from 400 to 599, such as \[502/],
    [{ statuses: [200] }, /statuses is \[200\]/],
    [{ statuses: [404.5] }, /statuses is \[404\.5\]/],
    [{ render: true }, /^error-page: render is true; give a function$/],
    [{ render: () => ({ status: 500 }), text: 'a' }, /^error-page: text is "a"; give either it or render$/],
    [{ htm: '' }, /^error-page: there is no option htm; allowed: html, json, text, statuses, render$/],
    [undefined, /^error-page: the options are missing; give an object$/],
  ] as const) {
    assert.throws(() => errorPage(options as unknown as ErrorPageOptions), { name: 'TypeError', message })
  }
})
