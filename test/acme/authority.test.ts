import assert from 'node:assert/strict'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { acme } from '../../src/acme/index.ts'
import { createProxy } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { freePort } from '../support/ports.ts'
import { gate } from '../support/running-proxy.ts'
import { temporary, waitingLogger } from './support.ts'

/** Starts an order, and returns the line that its failure leaves. */
async function failureOf(t: TestContext, directory: string, ca: string | null = certificate): Promise<string> {
  const [clock, logger] = [manualClock(0, { epochMs: Date.now() }), waitingLogger()]
  await using proxy = createProxy({ backends: [], clock, logger })
  const certificates = [
    acme({ names: ['a.test'], agreeToTerms: true, folder: temporary(t), directory, ca: ca ?? undefined }),
  ]
  await proxy.listen({ port: 0, host: '127.0.0.1', tls: { certificates } })
  clock.advance(1000)
  return await logger.next(/^error/)
}

/** An https server that answers everything alike. @returns its URL. */
async function server(t: TestContext, respond: (path: string) => Answer): Promise<string> {
  const listener = https.createServer({ cert: certificate, key }, (req, res) => {
    const { status = 200, headers = {}, body = '' } = respond(req.url ?? '')
    res.writeHead(status, { 'replay-nonce': 'abc', ...headers }).end(body)
  })
  t.after(() => {
    listener.close()
    listener.closeAllConnections()
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  return `https://127.0.0.1:${(listener.address() as AddressInfo).port}/dir`
}

interface Answer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

test('nobody is there', async (t) => {
  const directory = `https://127.0.0.1:${await freePort()}/dir`
  assert.match(
    await failureOf(t, directory),
    /for a\.test could not be ordered: the authority cannot be reached: .*ECONNREFUSED.* \(https:.*\/dir\); the next attempt is in 1 min/,
  )
})

test('a certificate that is not trusted', async (t) => {
  const directory = await server(t, () => ({}))
  assert.match(await failureOf(t, directory, null), /cannot be reached: .*; if it is a private one, the option ca/)
})

test('something else than an ACME directory', async (t) => {
  for (const body of ['<html>', '{}', '[]', '']) {
    const directory = await server(t, () => ({ body }))
    assert.match(await failureOf(t, directory), /\/dir is not an ACME directory/)
  }
})

test('a refusal is told on one line, with its reason, and its time is kept to', async (t) => {
  const directory = await server(t, () => ({
    status: 429,
    headers: { 'retry-after': '7200', 'content-type': 'application/problem+json' },
    body: JSON.stringify({ type: 'urn:ietf:params:acme:error:rateLimited', detail: `too\r\nmany ${'x'.repeat(2000)}` }),
  }))
  const line = await failureOf(t, directory)
  assert.match(
    line,
    /could not be ordered: too many x+, HTTP status 429 \(the directory https:.*next attempt is in 2 h/,
  )
  assert.ok(line.length < 1000 && !/[\r\n]/.test(line))
})

test('an error without a reason', async (t) => {
  const directory = await server(t, () => ({ status: 503, body: 'no' }))
  assert.match(await failureOf(t, directory), /the authority gives no reason, HTTP status 503/)
})

test('a response that is too long', async (t) => {
  const directory = await server(t, () => ({ body: 'x'.repeat(2 << 20) }))
  assert.match(await failureOf(t, directory), /cannot be reached: maxContentLength/)
})

test('a later step that fails names its request', async (t) => {
  const directory: string = await server(t, (path) => {
    const at = (name: string): string => directory.replace('/dir', name)
    if (path === '/dir') return json({ newNonce: at('/nonce'), newAccount: at('/account'), newOrder: at('/order') })
    if (path === '/account')
      return json({ type: 'urn:ietf:params:acme:error:unauthorized', detail: 'you may not' }, 403)
    return {}
  })
  assert.match(
    await failureOf(t, directory),
    /you may not \(unauthorized\), HTTP status 403 \(POST https:.*\/account\)/,
  )
})

function json(value: object, status = 200): Answer {
  return { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) }
}

test('closed while the authority is silent: the process could end at once', async (t) => {
  const asked = gate()
  const silent = https.createServer({ cert: certificate, key }, () => asked.open())
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.after(() => silent.closeAllConnections())
  const directory = `https://127.0.0.1:${(silent.address() as AddressInfo).port}/dir`
  const [clock, logger] = [manualClock(0, { epochMs: Date.now() }), waitingLogger()]
  const proxy = createProxy({ backends: [], clock, logger })
  const certificates = [
    acme({ names: ['a.test'], agreeToTerms: true, folder: temporary(t), directory, ca: certificate }),
  ]
  await proxy.listen({ port: 0, host: '127.0.0.1', tls: { certificates } })
  clock.advance(1000)
  await asked.promise
  const ended = new Promise((resolve) => silent.close(resolve))
  await proxy.close()
  // The request has been cut, and its connection is gone.
  await ended
  assert.deepEqual(
    logger.lines.filter((line) => line.startsWith('error')),
    [],
  )
})

test('http-01 without the responder in a route: listen() rejects', async (t) => {
  const certificates = acme({ names: ['a.test'], agreeToTerms: true, folder: temporary(t), challenge: 'http-01' })
  await using proxy = createProxy({ backends: [], logger: 'silent' })
  const where = { port: 0, host: '127.0.0.1', tls: { certificates: [certificates] } }
  await assert.rejects(proxy.listen(where), /http-01, but `responder` is among no route's interceptors; put it/)
  await using backend = await mockBackend()
  await using plain = createProxy({ target: backend.url, routes: [{ interceptors: [certificates.responder] }] })
  await plain.listen({ port: 0, host: '127.0.0.1' })
  await proxy.listen(where)
})

test('a folder that cannot be used: listen() rejects', async () => {
  const certificates = acme({ names: ['a.test'], agreeToTerms: true, folder: '/dev/null/acme' })
  await using proxy = createProxy({ backends: [] })
  const listening = proxy.listen({ port: 0, host: '127.0.0.1', tls: { certificates: [certificates] } })
  await assert.rejects(listening, /^Error: acme: the folder .* cannot be used: .*\/dev\/null\/acme/)
})
