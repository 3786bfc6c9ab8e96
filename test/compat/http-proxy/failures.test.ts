import assert from 'node:assert/strict'
import http, { type IncomingMessage, ServerResponse } from 'node:http'
import { test } from 'node:test'
import { ProxyServer } from '../../../src/compat/http-proxy/index.ts'
import { ProxyError } from '../../../src/index.ts'
import {
  badChunk,
  deadPort,
  garbage,
  mockBackend,
  neverAnswer,
  recordingLogger,
  resetMidBody,
  resetMidHead,
  resetOnRequest,
} from '../../../src/testing/index.ts'
import { converse, rawClient } from '../../support/raw-client.ts'
import { codeOf, nextEvent, type SystemError, served } from './serving.ts'

test('error: listeners get the error of node, the request, the response and the target', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url })
  const failed = nextEvent(front.proxy, 'error')
  const response = fetch(`${front.url}/x`)
  const [error, req, res, target] = (await failed) as [SystemError, IncomingMessage, ServerResponse, URL]
  assert.deepEqual([error.code, error.syscall, error.name], ['ECONNREFUSED', 'connect', 'Error'])
  assert.ok(error.cause instanceof ProxyError)
  assert.equal(error.cause.code, 'ERR_PROXY_CONNECT')
  assert.deepEqual([req.url, target.href], ['/x', `${url}/`])
  res.writeHead(503).end('by the listener')
  assert.deepEqual([(await response).status, await (await response).text()], [503, 'by the listener'])
  assert.deepEqual(front.logger.messages('error'), [])
})

for (const [what, script, code] of [
  ['a reset before the response', resetOnRequest, 'ECONNRESET'],
  ['a reset within the head', resetMidHead, 'ECONNRESET'],
  ['what is no HTTP', garbage, 'HPE_INVALID_CONSTANT'],
] as const) {
  test(`error: ${what} is ${code}`, async () => {
    await using backend = await mockBackend(script)
    await using front = await served({ target: backend.url }, (proxy, req, res) =>
      proxy.web(req, res, {}, (error) => res.writeHead(502).end(codeOf(error))),
    )
    assert.equal(await (await fetch(front.url)).text(), code)
  })
}

test('error: an unknown host is what the resolver says', async () => {
  await using front = await served({ target: 'http://nobody.invalid' })
  const failed = nextEvent(front.proxy, 'error')
  const response = fetch(front.url)
  const [error, , res] = (await failed) as [SystemError, unknown, ServerResponse]
  res.end()
  await response
  assert.ok(['ENOTFOUND', 'EAI_AGAIN'].includes(error.code ?? ''), error.code)
})

test('error: a callback hears of it, and listeners do not', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url }, (proxy, req, res) =>
    proxy.web(req, res, (error, own, client, target) => {
      assert.deepEqual([own === req, client === res, String(target)], [true, true, `${url}/`])
      res.writeHead(504).end(codeOf(error))
    }),
  )
  front.proxy.on('error', () => assert.fail('a listener was told'))
  assert.equal(await (await fetch(front.url)).text(), 'ECONNREFUSED')
})

test('error: a callback does not hear of a response that breaks off, and listeners do', async () => {
  await using backend = await mockBackend(resetMidBody)
  await using front = await served({ target: backend.url }, (proxy, req, res) =>
    proxy.web(req, res, {}, () => assert.fail('the callback was told')),
  )
  const failed = nextEvent(front.proxy, 'error')
  await assert.rejects(fetch(front.url).then((response) => response.text()))
  assert.equal(codeOf((await failed)[0] as Error), 'ECONNRESET')
})

test('error: without anybody who listens the client gets our response, and the log a line', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url })
  const response = await fetch(front.url)
  assert.deepEqual([response.status, await response.text()], [502, '502 Bad Gateway (ECONNREFUSED)\n'])
  assert.equal(response.headers.get('cache-control'), 'no-store')
  assert.match(front.logger.messages('error')[0] ?? '', /nobody listens to 'error': connect ECONNREFUSED/)
})

test('error: a time limit is 504', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await served({ target: backend.url, proxyTimeout: 30 })
  assert.equal((await fetch(front.url)).status, 504)
})

test('error: listeners and callbacks that throw or reject leave no client waiting', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url }, (proxy, req, res) => {
    if (req.url === '/callback') {
      proxy.web(req, res, () => {
        throw new Error('thrown')
      })
    } else if (req.url === '/async') proxy.web(req, res, (async () => Promise.reject(new Error('rejected'))) as never)
    else proxy.web(req, res)
  })
  assert.equal((await fetch(`${front.url}/callback`)).status, 502)
  assert.equal((await fetch(`${front.url}/async`)).status, 502)
  front.proxy.once('error', () => {
    throw new Error('thrown')
  })
  assert.equal((await fetch(front.url)).status, 502)
  front.proxy.once('error', (async () => Promise.reject(new Error('rejected'))) as never)
  assert.equal((await fetch(front.url)).status, 500)
})

test('error: what a client does wrong is responded to, and is no failure of the target', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  front.proxy.on('error', () => assert.fail('an error'))
  const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n')
  assert.match(text, /^HTTP\/1.1 400 Bad Request\r\n/)
  assert.equal(backend.requests.length, 0)
})

for (const [what, script] of [
  ['a reset', resetMidBody],
  ['an invalid chunk', badChunk],
] as const) {
  test(`error: ${what} within the body truncates the response`, async () => {
    await using backend = await mockBackend(script)
    await using front = await served({ target: backend.url })
    const failed = nextEvent(front.proxy, 'error')
    await assert.rejects((await fetch(front.url)).text())
    const [error] = await failed
    assert.ok(['ECONNRESET', 'HPE_INVALID_CONSTANT'].includes(codeOf(error as Error) ?? ''), codeOf(error as Error))
    // Nobody has to be there.
    await assert.rejects((await fetch(front.url)).text())
  })
}

test('web() returns a promise, which resolves when the call has ended', async () => {
  await using backend = await mockBackend()
  const { url } = await deadPort()
  const ended: (boolean | string)[] = []
  await using front = await served({}, async (proxy, req, res) => {
    await proxy.web(req, res, { target: req.url === '/dead' ? url : backend.url })
    ended.push(res.writableFinished)
  })
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
  front.proxy.on('error', (_error, _req, res) => void ('writeHead' in res && res.writeHead(502).end()))
  await fetch(`${front.url}/dead`)
  assert.equal(ended.length, 2)
  assert.equal(ended[0], true)
})

test('web() rejects if nobody else hears of a failure, and whoever waits may respond', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url }, async (proxy, req, res) => {
    try {
      await proxy.web(req, res)
    } catch (error) {
      res.writeHead(500).end(`Proxy error: ${codeOf(error as Error)}`)
    }
  })
  const response = await fetch(front.url)
  assert.deepEqual([response.status, await response.text()], [500, 'Proxy error: ECONNREFUSED'])
})

test('web() and ws() resolve for connections that are gone already', async () => {
  const proxy = new ProxyServer({ target: 'http://127.0.0.1:1' })
  await using front = await served({}, async (_proxy, req, res) => {
    req.socket.destroy()
    await new Promise((resolve) => res.once('close', resolve))
    await proxy.web(req, res)
    gone()
  })
  let gone: () => void = () => {}
  const isGone = new Promise<void>((resolve) => {
    gone = resolve
  })
  await assert.rejects(fetch(front.url))
  await isGone
})

test('web() never throws, whatever it is given', async () => {
  const proxy = new ProxyServer({ target: 'http://127.0.0.1:1', logger: recordingLogger() })
  const errors: Error[] = []
  proxy.on('error', (error) => errors.push(error))
  proxy.web({ headers: {} } as IncomingMessage, {} as ServerResponse)
  proxy.ws({ headers: { upgrade: 'websocket' }, method: 'GET' } as IncomingMessage, new http.Agent() as never)
  await assert.rejects(proxy.ws({} as IncomingMessage, {} as never), TypeError)
  proxy.ws({} as IncomingMessage, {} as never)
  await new Promise((resolve) => setImmediate(resolve))
  const given = new ProxyServer({
    target: () => {
      throw new Error('no target')
    },
  })
  let told: Error | undefined
  given.web({} as IncomingMessage, {} as ServerResponse, (error) => {
    told = error
  })
  assert.equal(told?.message, 'no target')
})

test('econnreset: a client that leaves before it has a response', async () => {
  await using backend = await mockBackend((request, reply) => {
    if (request.path === '/begun') {
      reply.head()
      reply.chunk('some')
    }
  })
  await using front = await served({ target: backend.url })
  front.proxy.on('error', () => assert.fail('an error'))
  let resets = 0
  front.proxy.on('econnreset', () => resets++)
  const begun = rawClient(front.port)
  begun.write('GET /begun HTTP/1.1\r\nHost: a\r\n\r\n')
  await begun.until('some')
  begun.socket.destroy()
  await backend.untilOpenConnections(0)
  assert.equal(resets, 0)
  const reset = nextEvent(front.proxy, 'econnreset')
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab')
  await backend.nextRequestHead()
  await backend.nextRequestHead()
  client.socket.destroy()
  const [error, req, res] = (await reset) as [SystemError, IncomingMessage, ServerResponse]
  assert.deepEqual([error.code, error.cause?.code, req.method], ['ECONNRESET', 'ERR_PROXY_CLIENT_GONE', 'POST'])
  assert.ok(res instanceof ServerResponse)
  await backend.untilOpenConnections(0)
})

test('start: comes for each call, with the target as a URL', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  const started = nextEvent(front.proxy, 'start')
  await fetch(`${front.url}/x`)
  const [req, res, target] = (await started) as [IncomingMessage, ServerResponse, URL]
  assert.deepEqual([req.url, res instanceof ServerResponse, target.href], ['/x', true, `${backend.url}/`])
})

test('start: a listener that throws fails its call', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  front.proxy.on('start', () => {
    throw new Error('thrown')
  })
  assert.equal((await fetch(front.url)).status, 500)
})

test('listeners to what cannot fail any more may throw', async () => {
  await using backend = await mockBackend((request, reply) => {
    if (request.path === '/cut') {
      reply.head()
      reply.chunk('x')
      reply.abort()
    } else if (request.path !== '/never') reply.send({ body: 'hello' })
  })
  await using front = await served({ target: backend.url })
  for (const event of ['end', 'econnreset', 'error']) {
    front.proxy.on(event as 'end', () => {
      throw new Error(`thrown by ${event}`)
    })
  }
  front.proxy.on('proxyReq', (proxyReq) => {
    proxyReq.on('close', () => {
      throw new Error('thrown by close')
    })
  })
  const logged = async (text: string) => {
    while (!front.logger.entries.some(({ fields }) => String(fields.err).includes(text))) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  assert.equal(await (await fetch(front.url)).text(), 'hello')
  await logged('thrown by end')
  await logged('thrown by close')
  await assert.rejects((await fetch(`${front.url}/cut`)).text())
  await logged('thrown by error')
  const client = rawClient(front.port)
  client.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\n')
  while (backend.requests.length < 3) await backend.nextRequestHead()
  client.socket.destroy()
  await logged('thrown by econnreset')
})
