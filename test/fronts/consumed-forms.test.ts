import assert from 'node:assert/strict'
import http, { type RequestListener } from 'node:http'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import express from 'express'
import fc from 'fast-check'
import type { Proxy } from '../../src/index.ts'
import { type MockBackend, mockBackend } from '../../src/testing/index.ts'
import { converse } from '../support/raw-client.ts'
import { type RunningProxy, runInServer } from '../support/running-proxy.ts'

const FORM = 'application/x-www-form-urlencoded'
const express4: typeof express = createRequire(import.meta.url)('express4')
const NEXT = 'GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'

/** Real parsers, each before the proxy. */
const PARSERS: readonly (readonly [name: string, application: (proxy: Proxy) => RequestListener])[] = (
  [
    ['Express 5', express],
    ['Express 4', express4],
  ] as const
).flatMap(([name, framework]) =>
  [false, true].map((extended) => {
    const application = (proxy: Proxy): RequestListener => {
      const app = framework()
      app.use(framework.json({ strict: false }), framework.urlencoded({ extended }), framework.text())
      app.use((req: http.IncomingMessage, res: http.ServerResponse) => proxy.web(req, res))
      return app as unknown as RequestListener
    }
    return [`${name}, extended: ${extended}`, application] as const
  }),
)

type Sender = (bytes: string, how?: { type?: string; isChunked?: boolean; extra?: string }) => Promise<string>

/** @returns a way to send a body: what the backend got, or the code of the refusal. */
function sender(front: RunningProxy, backend: MockBackend): Sender {
  return async (bytes, { type = FORM, isChunked = false, extra = '' } = {}) => {
    const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${bytes.length}`
    const chunk = bytes === '' ? '' : `${bytes.length.toString(16)}\r\n${bytes}\r\n`
    const body = isChunked ? `${chunk}0\r\n\r\n` : bytes
    const { text } = await converse(
      front.port,
      `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: ${type}\r\nConnection: close\r\n${extra}${framing}\r\n\r\n${body}`,
    )
    if (!text.startsWith('HTTP/1.1 200')) return /ERR_\w+/.exec(text)?.[0] ?? text
    return Buffer.from((await backend.nextRequest()).bodyBytes).toString('latin1')
  }
}

async function withParser(
  application: (proxy: Proxy) => RequestListener,
  use: (send: Sender, front: RunningProxy) => Promise<void>,
): Promise<void> {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url }, (proxy) => http.createServer(application(proxy)))
  await use(sender(front, backend), front)
}

const EXACT = [
  'a=1&b=2',
  'a=x+y%26z%3D',
  'a=x%20y',
  'a=',
  'a=&b=&c=',
  'd=%C3%BC&e=',
  'mail=a@b.test&token=YWJj==',
  'a=x y&b=gr\xc3\xb6\xc3\x9fe',
  "a=it's&b=(x)~*!",
  'a=it%27s&b=%28x%29%7E%2A%21',
  'a=1&a=2',
  'b=x&c=&a=1&a=2&a=1',
  'a=%EF%BF%BE',
  'a=100%25&b=50%25+off',
  'q=https%3A%2F%2Fx.test%2F%3Fy%3D%2520z',
]
/** What no parser leaves enough of, and each parser spoils in another way. */
const SPOILT = [
  'a=%E9',
  'a=%E9&b=%40@',
  'a=caf%E9&b=1',
  '%E9=1',
  'a=\xe9',
  'a=%FF%FE%E9',
  'a=%F0%9F%98',
  'a=1&b=2&a=3',
  'a=1&a=2&b=3',
  'b=1&2=x&1=y',
  'a[]=1&b[]=2&a[]=3',
  'a=1&&b=2',
  '&a=1',
  'a',
  'a&b=1',
  'a[b]=1&a[c]=2&d=1',
  'a=%u00e9',
  'a=%c3%bC%2f%2F@%40',
]
/** Names that some parsers drop. */
const ODD = [
  '__proto__=1',
  'a=1&__proto__=2',
  'a=1&toString=x',
  'a=1&hasOwnProperty=x&b=2',
  '=x',
  'a=1&=x',
  '__proto__[a]=1&b=2',
]

for (const [name, application] of PARSERS) {
  test(`${name}: a form is sent again to the byte`, () =>
    withParser(application, async (send) => {
      for (const form of EXACT) assert.equal(await send(form), form)
    }))

  test(`${name}: a form of which the parser has lost something is sent again to the byte or refused`, () =>
    withParser(application, async (send, front) => {
      for (const form of [...SPOILT, ...ODD]) {
        const got = await send(form)
        assert.ok(got === form || got === 'ERR_PROXY_BODY_CONSUMED', `${form}: ${got}`)
      }
      for (const { message } of front.errors) assert.match(message, /mount the proxy before body parsers/)
    }))

  test(`${name}: a form without an announced length is refused`, () =>
    withParser(application, async (send) => {
      assert.equal(await send('a=1', { isChunked: true }), 'ERR_PROXY_BODY_CONSUMED')
      const extra = 'Content-Encoding: gzip\r\n'
      assert.equal(await send(gzipSync('a=1').toString('latin1'), { extra }), 'ERR_PROXY_BODY_CONSUMED')
    }))

  test(`${name}: an empty body in chunks stays empty`, () =>
    withParser(application, async (send) => {
      for (const type of ['application/json', FORM, 'text/plain', 'application/octet-stream']) {
        assert.equal(await send('', { type, isChunked: true }), '', type)
      }
      assert.equal(await send('{}', { type: 'application/json', isChunked: true }), '{}')
      assert.equal(await send('""', { type: 'application/json' }), '""')
    }))

  test(`${name}: text and JSON with bytes that are not UTF-8 are refused`, () =>
    withParser(application, async (send) => {
      for (const isChunked of [false, true]) {
        assert.equal(await send('caf\xe9', { type: 'text/plain', isChunked }), 'ERR_PROXY_BODY_CONSUMED')
        assert.equal(await send('{"a":"\xe9"}', { type: 'application/json', isChunked }), 'ERR_PROXY_BODY_CONSUMED')
      }
      assert.equal(await send('caf\xc3\xa9', { type: 'text/plain' }), 'caf\xc3\xa9')
      // A replacement character that was there before.
      assert.equal(await send('\xef\xbf\xbd', { type: 'text/plain' }), '\xef\xbf\xbd')
      assert.equal(await send('{"a":"\xef\xbf\xbd"}', { type: 'application/json' }), '{"a":"\xef\xbf\xbd"}')
      assert.equal(await send('{"__proto__":{"a":1}}', { type: 'application/json' }), '{"__proto__":{"a":1}}')
    }))
}

test('random forms are sent again with the same fields, or refused', async () => {
  const piece = fc.constantFrom(
    'a',
    'b',
    '1',
    '=',
    '&',
    '%41',
    '%E9',
    '%C3%BC',
    '+',
    '%20',
    '%2B',
    '%',
    '%25',
    '__proto__',
    '[]',
    '[',
    'é',
    '@',
    ';',
    '.',
  )
  const form = fc.array(piece, { minLength: 1, maxLength: 9 }).map((pieces) => pieces.join(''))
  /** As most backends read it: pairs in their order, bytes for characters; without what has no name or an odd one. */
  const fieldsOf = (text: string): string[] =>
    text
      .split('&')
      .map((pair) =>
        pair
          .replace('=', '\n')
          .replaceAll('+', ' ')
          .replace(/%([\da-f]{2})/gi, fromHex),
      )
      .map((pair) => (pair.includes('\n') ? pair : `${pair}\n`))
      .filter((pair) => !/^(?:__proto__)?\n/.test(pair))
  const fromHex = (_: string, hex: string): string => String.fromCharCode(Number.parseInt(hex, 16))
  for (const [, application] of PARSERS) {
    await withParser(application, (send) =>
      fc.assert(
        fc.asyncProperty(form, async (text) => {
          const bytes = Buffer.from(text).toString('latin1')
          const got = await send(bytes)
          if (got !== 'ERR_PROXY_BODY_CONSUMED') assert.deepEqual(fieldsOf(got), fieldsOf(bytes))
        }),
        { seed: 1, numRuns: 150 },
      ),
    )
  }
})

test("a koa parser's rawBody that is text is sent as it was, or refused where it cannot be", async () => {
  const application =
    (proxy: Proxy): RequestListener =>
    (req, res) => {
      const chunks: Buffer[] = []
      req.on('data', (chunk: Buffer) => chunks.push(chunk))
      req.on('end', () => {
        const rawBody = Buffer.concat(chunks).toString()
        Object.assign(req, { rawBody, body: { ...Object.fromEntries(new URLSearchParams(rawBody)) } })
        proxy.web(req, res)
      })
    }
  await withParser(application, async (send) => {
    for (const form of ['a=1&b=2&a=3', 'a=%E9&&=x', '']) assert.equal(await send(form, { isChunked: true }), form)
    assert.equal(await send('a=\xe9'), 'ERR_PROXY_BODY_CONSUMED')
  })
})

test('what is behind a refused form is not taken for a part of it', async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url }, (proxy) => http.createServer(PARSERS[0]?.[1](proxy)))
  const body = 'a=1&&b=2'
  const { text } = await converse(
    front.port,
    `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: ${FORM}\r\nContent-Length: ${body.length}\r\n\r\n${body}${NEXT}`,
  )
  assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 500', 'HTTP/1.1 200'])
  assert.equal((await backend.nextRequest()).path, '/next')
})
