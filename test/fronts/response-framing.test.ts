import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import type { Proxy, ProxyOptions } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, type RunningProxy, runInServer } from '../support/running-proxy.ts'

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`

type Serve = (proxy: Proxy, req: http.IncomingMessage, res: http.ServerResponse) => void

function inApplication(serve: Serve, options: ProxyOptions): Promise<RunningProxy> {
  return runInServer(options, (proxy) => http.createServer((req, res) => serve(proxy, req, res)))
}

/** A backend that answers `/length` with a length, `/chunks` in chunks, and `/304` with a 304 that has a length. */
function someBackend() {
  return mockBackend((request, reply) => {
    if (request.path === '/chunks') {
      reply.head()
      reply.chunk('0123456789')
      return void reply.end()
    }
    if (request.path === '/304') return void reply.send({ status: 304, headers: { 'content-length': '100' } })
    reply.send({ body: '0123456789' })
  })
}

/** Sends a request for `path`, and two behind it. @returns all that comes. */
async function firstOfThree(port: number, path: string): Promise<string> {
  const client = rawClient(port)
  client.write(get(path) + get('/last'))
  await client.until('0123456789')
  client.write('GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await client.ended
  return client.text
}

/** The responses in `text`, read as a client of GETs reads them. */
function readResponses(text: string): { status: number; body: string }[] {
  const responses: { status: number; body: string }[] = []
  let rest = text
  while (rest !== '') {
    const end = rest.indexOf('\r\n\r\n')
    const head = rest.slice(0, end)
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1])
    assert.ok(status >= 200, `no response begins where one should: ${JSON.stringify(rest.slice(0, 80))}`)
    const length = /^content-length: (\d+)$/im.exec(head)?.[1]
    const isChunked = /^transfer-encoding: chunked$/im.test(head)
    assert.ok(length === undefined || !isChunked, 'a length and chunks')
    rest = rest.slice(end + 4)
    let body = ''
    if (status === 204) assert.equal(length, undefined)
    else if (isChunked) {
      const size = rest.indexOf('0\r\n\r\n') + 5
      body = rest.slice(0, size)
      rest = rest.slice(size)
    } else if (status !== 304) {
      body = rest.slice(0, Number(length))
      assert.equal(body.length, Number(length), 'less than the length says')
      rest = rest.slice(Number(length))
    }
    responses.push({ status, body })
  }
  return responses
}

const WAYS: readonly { name: string; path: string; serve: Serve; first: { status: number; body: string } }[] = [
  {
    name: 'GET of which the application makes HEAD',
    path: '/length',
    serve(proxy, req, res) {
      if (req.url === '/length') req.method = 'HEAD'
      proxy.web(req, res)
    },
    first: { status: 200, body: '' },
  },
  {
    name: 'a length that the application has set, of a body in chunks',
    path: '/chunks',
    serve(proxy, req, res) {
      if (req.url === '/chunks') res.setHeader('Content-Length', '3')
      proxy.web(req, res)
    },
    first: { status: 200, body: 'a\r\n0123456789\r\n0\r\n\r\n' },
  },
  {
    name: 'a coding that the application has set, of a body with a length',
    path: '/length',
    serve(proxy, req, res) {
      if (req.url === '/length') res.setHeader('Transfer-Encoding', 'chunked')
      proxy.web(req, res)
    },
    first: { status: 200, body: '0123456789' },
  },
  {
    name: 'a coding that the application has set, of a body in chunks',
    path: '/chunks',
    serve(proxy, req, res) {
      if (req.url === '/chunks') res.setHeader('Transfer-Encoding', 'gzip')
      proxy.web(req, res)
    },
    first: { status: 200, body: 'a\r\n0123456789\r\n0\r\n\r\n' },
  },
]

for (const { name, path, serve, first } of WAYS) {
  test(`the response ends where its head says: ${name}`, async () => {
    await using backend = await someBackend()
    await using front = await inApplication(serve, { target: backend.url })
    const responses = readResponses(await firstOfThree(front.port, path))
    assert.deepEqual(responses[0], first)
    assert.equal(responses.length, 3)
  })
}

for (const { name, run } of ALL_FRONTS) {
  const answering = (from: number, to: number): NonNullable<ProxyOptions['routes']> => [
    {
      transforms: [
        {
          name: 'status',
          response(response, { target }) {
            if (target !== '/last' && response.status === from) response.status = to
          },
        },
      ],
    },
  ]

  test(`${name}: the response ends where its head says: a 304 of which a transform makes a 200`, async () => {
    await using backend = await someBackend()
    await using front = await run({ target: backend.url, routes: answering(304, 200) })
    const responses = readResponses(await firstOfThree(front.port, '/304'))
    assert.deepEqual(responses[0], { status: 200, body: '' })
    assert.equal(responses.length, 3)
  })

  for (const path of ['/length', '/chunks']) {
    test(`${name}: the response ends where its head says: a 200 of which a transform makes a 204 (${path})`, async () => {
      await using backend = await someBackend()
      await using front = await run({ target: backend.url, routes: answering(200, 204) })
      const responses = readResponses(await firstOfThree(front.port, path))
      assert.deepEqual(responses[0], { status: 204, body: '' })
      assert.equal(responses.length, 3)
    })
  }
}
