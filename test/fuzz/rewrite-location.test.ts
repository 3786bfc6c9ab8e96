import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  Backend,
  type ResponseHead,
  type ResponseSink,
  type RewriteLocationOptions,
  rewriteLocation,
} from '../../src/index.ts'
import { exchangeView } from '../../src/testing/index.ts'
import { NO_FLOW } from '../support/interceptors.ts'

const ASKED = 'public.test'
const BACKEND = 'backend.test:8080'

/** What the client gets for what a backend says. */
function rewritten(location: string, options: RewriteLocationOptions, basePath: string): string {
  const backend = new Backend(`http://${BACKEND}${basePath}`)
  const exchange = exchangeView({ host: ASKED, backend })
  const head: ResponseHead = { status: 302, reason: '', headers: ['Location', location], bodyBytes: 0 }
  const handler = rewriteLocation(options).wrap((_exchange, _request, _body, sink) => sink.onHead(head, NO_FLOW))
  const request = { method: 'GET', path: '/', authority: ASKED, headers: ['Host', ASKED], upgrade: null }
  const got: string[] = []
  const ignore = (): boolean => true
  const sink: ResponseSink = {
    ...{ onInformational: ignore, onData: ignore, onFlush: ignore, onEnd: ignore, onUpgrade: ignore, onError: ignore },
    onHead: ({ headers }) => void got.push(headers[1] as string),
  }
  handler(exchange, request, null, sink)
  return got[0] as string
}

/** Pieces of which URLs and attacks on their readers consist. */
const piece = fc.constantFrom(
  ...[
    'http:',
    'https:',
    'HTTP:',
    'ftp:',
    'javascript:',
    '/',
    '//',
    '///',
    '\\',
    '@',
    ':',
    '?',
    '#',
    '.',
    '..',
    '%2f',
    '%5c',
    '%00',
  ],
  ...[
    '\t',
    ' ',
    BACKEND,
    'backend.test',
    ASKED,
    'evil.test',
    '8080',
    ':80',
    ':443',
    'user',
    'app',
    '/app',
    '/app/',
    'x',
    '[::1]',
    '\xff',
    ';',
    ',',
  ],
)
const location = fc.array(piece, { maxLength: 9 }).map((pieces) => pieces.join(''))
const options = fc.constantFrom<RewriteLocationOptions>(
  {},
  { prefix: '/shop' },
  { prefix: { from: '/app', to: '/' } },
  { prefix: '/' },
)
const basePath = fc.constantFrom('', '/app')

const hostOf = (text: string, base: string): string | null => URL.parse(text, `http://${base}/dir/page`)?.host ?? null

test("a rewritten URL leads to the client's host, and other URLs stay as they are", () => {
  let changes = 0
  fc.assert(
    fc.property(location, options, basePath, (said, given, base) => {
      const got = rewritten(said, given, base)
      if (got === said) return
      changes++
      // As a browser reads both.
      const was = hostOf(said, ASKED)
      assert.ok(was === ASKED || was === BACKEND || was === `${ASKED}:443`, `${said} -> ${got}`)
      assert.equal(hostOf(got, ASKED), ASKED, `${said} -> ${got}`)
    }),
    { numRuns: 30_000 },
  )
  assert.ok(changes > 300, `${changes} changes`)
})
