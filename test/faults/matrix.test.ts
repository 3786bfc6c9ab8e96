import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { ALL_FRONTS, FRONTS, HTTP2_COMPAT, inHttp2 } from '../support/running-proxy.ts'
import { type Cell, type Fault, KINDS, type Phase, type Row, runCell } from './backend-cell.ts'
import {
  CLIENT_KINDS,
  type ClientCell,
  type ClientFault,
  type ClientPhase,
  type ClientRow,
  runClientCell,
} from './client-cell.ts'
import { assertBack, type Footprint, idleFootprint } from './footprint.ts'

const CONNECT = 'again ERR_PROXY_CONNECT'
const TLS = 'again ERR_PROXY_TLS'
const LATE = 'again ERR_PROXY_CONNECT_TIMEOUT'
// An upgrade of which anything was written is not repeated.
const RESET: Row = ['again ERR_PROXY_RESET', '502 ERR_PROXY_RESET', '502 ERR_PROXY_RESET', '502 ERR_PROXY_RESET']
const GARBAGE: Row = [
  'again ERR_PROXY_BAD_RESPONSE',
  '502 ERR_PROXY_BAD_RESPONSE',
  '502 ERR_PROXY_BAD_RESPONSE',
  '502 ERR_PROXY_BAD_RESPONSE',
]
const STALL: Row = [
  'again ERR_PROXY_HEADERS_TIMEOUT',
  '504 ERR_PROXY_HEADERS_TIMEOUT',
  '504 ERR_PROXY_HEADERS_TIMEOUT',
  '504 ERR_PROXY_HEADERS_TIMEOUT',
]
const CUT = 'cut ERR_PROXY_TRUNCATED'
const STALE: Row = ['stale', '502 ERR_PROXY_RESET', '502 ERR_PROXY_RESET', '-']

/** Combinations that are not here do not exist: what refuses connections never gets a request head. */
const MATRIX: readonly [Phase, Fault, Row][] = [
  ['before connect', 'refused', [CONNECT, CONNECT, CONNECT, CONNECT]],
  ['before connect', 'unreachable', [CONNECT, CONNECT, CONNECT, CONNECT]],
  ['before connect', 'unknown', [CONNECT, CONNECT, CONNECT, CONNECT]],

  ['in the TLS handshake', 'TLS', [TLS, TLS, TLS, TLS]],
  ['in the TLS handshake', 'reset', [CONNECT, CONNECT, CONNECT, CONNECT]],
  ['in the TLS handshake', 'half-close', [CONNECT, CONNECT, CONNECT, CONNECT]],
  ['in the TLS handshake', 'stall', [LATE, LATE, LATE, LATE]],
  ['in the TLS handshake', 'garbage', [TLS, TLS, TLS, TLS]],
  ['in the TLS handshake', 'cut', [CONNECT, CONNECT, CONNECT, CONNECT]],

  ['after connect', 'reset', RESET],
  ['after connect', 'half-close', RESET],
  ['after connect', 'stall', STALL],
  ['after connect', 'garbage', GARBAGE],
  ['after connect', 'cut', RESET],

  ['in the request head', 'reset', RESET],
  ['in the request head', 'half-close', RESET],
  ['in the request head', 'stall', STALL],
  ['in the request head', 'garbage', GARBAGE],
  ['in the request head', 'cut', RESET],

  ['in the request body', 'reset', ['-', '502 ERR_PROXY_RESET', '502 ERR_PROXY_RESET', '-']],
  ['in the request body', 'half-close', ['-', '502 ERR_PROXY_RESET', '502 ERR_PROXY_RESET', '-']],
  // A backend that does not read stalls nothing before the buffers are full.
  ['in the request body', 'stall', ['-', '-', '504 ERR_PROXY_IDLE_TIMEOUT', '-']],
  ['in the request body', 'garbage', ['-', '502 ERR_PROXY_BAD_RESPONSE', '502 ERR_PROXY_BAD_RESPONSE', '-']],
  ['in the request body', 'cut', ['-', '502 ERR_PROXY_RESET', '502 ERR_PROXY_RESET', '-']],

  ['before the response', 'reset', RESET],
  ['before the response', 'half-close', RESET],
  ['before the response', 'stall', STALL],
  ['before the response', 'garbage', GARBAGE],
  ['before the response', 'cut', RESET],

  ['in the response head', 'reset', RESET],
  ['in the response head', 'half-close', RESET],
  ['in the response head', 'stall', STALL],
  ['in the response head', 'garbage', GARBAGE],
  ['in the response head', 'cut', RESET],

  // An upgrade's body is the tunnel: garbage in it is the new protocol's own affair.
  ['in the body', 'reset', [CUT, CUT, CUT, 'tunnel']],
  ['in the body', 'half-close', [CUT, CUT, CUT, 'tunnel']],
  [
    'in the body',
    'stall',
    [
      'cut ERR_PROXY_IDLE_TIMEOUT',
      'cut ERR_PROXY_IDLE_TIMEOUT',
      'cut ERR_PROXY_IDLE_TIMEOUT',
      'cut ERR_PROXY_UPGRADE_IDLE_TIMEOUT',
    ],
  ],
  ['in the body', 'garbage', [CUT, CUT, CUT, '-']],
  ['in the body', 'cut', [CUT, CUT, CUT, 'tunnel']],

  // Upgrades are not sent on kept connections.
  ['between requests', 'reset', ['fine', 'fine', 'fine', '-']],
  ['between requests', 'half-close', ['fine', 'fine', 'fine', '-']],
  ['between requests', 'garbage', ['fine', 'fine', 'fine', '-']],
  ['between requests', 'cut', ['fine', 'fine', 'fine', '-']],

  ['as the next request comes', 'reset', STALE],
  ['as the next request comes', 'half-close', STALE],
  ['as the next request comes', 'stall', [STALL[0], STALL[1], STALL[2], '-']],
  ['as the next request comes', 'garbage', [GARBAGE[0], GARBAGE[1], GARBAGE[2], '-']],
  ['as the next request comes', 'cut', STALE],
]

/** The same by the client. */
const CLIENT_MATRIX: readonly [ClientPhase, ClientFault, ClientRow][] = [
  ['after connect', 'reset', ['none', 'none', 'none']],
  ['after connect', 'half-close', ['none', 'none', 'none']],
  ['after connect', 'cut', ['none', 'none', 'none']],
  ['after connect', 'garbage', ['400', '400', '400']],

  ['in the request head', 'reset', ['none', 'none', 'none']],
  ['in the request head', 'half-close', ['400', '400', '400']],
  ['in the request head', 'cut', ['400', '400', '400']],
  ['in the request head', 'garbage', ['400', '400', '400']],

  ['in the request body', 'reset', ['-', 'gone', '-']],
  ['in the request body', 'half-close', ['-', '400, gone', '-']],
  ['in the request body', 'stall', ['-', '408', '-']],
  ['in the request body', 'garbage', ['-', '400, gone', '-']],
  ['in the request body', 'cut', ['-', '400, gone', '-']],

  ['before the response', 'reset', ['gone', 'gone', 'gone']],
  ['before the response', 'half-close', ['gone', 'gone', 'gone']],
  ['before the response', 'cut', ['gone', 'gone', 'gone']],

  ['in the body', 'reset', ['gone', 'gone', 'tunnel']],
  ['in the body', 'half-close', ['gone', 'gone', 'tunnel']],
  ['in the body', 'cut', ['gone', 'gone', 'tunnel']],

  ['between requests', 'reset', ['none', 'none', '-']],
  ['between requests', 'half-close', ['none', 'none', '-']],
  ['between requests', 'cut', ['none', 'none', '-']],
  ['between requests', 'garbage', ['400', '400', '-']],
]

const warnings: Error[] = []
const onWarning = (warning: Error): void => void warnings.push(warning)
let start: Footprint

before(async () => {
  // What is made once and kept, such as the first lookup and the first TLS context, is no leak.
  for (const front of FRONTS) {
    await runCell('before connect', 'unknown', 'upgrade', CONNECT, front)
    await runCell('in the TLS handshake', 'TLS', 'GET', TLS, front)
  }
  start = await idleFootprint()
  process.on('warning', onWarning)
})

for (const front of [...ALL_FRONTS, HTTP2_COMPAT]) {
  describe(front.name, () => {
    describe('a backend that is', () => {
      for (const [phase, fault, row] of MATRIX) {
        for (const [index, kind] of KINDS.entries()) {
          const cell = row[index] as Cell
          if (cell === '-') continue
          const skip = kind === 'upgrade' && inHttp2(front.name, 'there is no upgrade in HTTP/2')
          test(`${fault} ${phase}, ${kind}: ${cell}`, { skip }, () => runCell(phase, fault, kind, cell, front))
        }
      }
    })

    // What HTTP/2 makes of these faults of a client is in test/fronts/http2.
    if (front.name.startsWith('HTTP/2')) return
    describe('a client that is', () => {
      for (const [phase, fault, row] of CLIENT_MATRIX) {
        for (const [index, kind] of CLIENT_KINDS.entries()) {
          const cell = row[index] as ClientCell
          if (cell === '-') continue
          test(`${fault} ${phase}, ${kind}: ${cell}`, () => runClientCell(phase, fault, kind, cell, front))
        }
      }
    })
  })
}

test('after all of these nothing is left open, and nothing was warned of', async () => {
  process.off('warning', onWarning)
  assert.deepEqual(warnings, [])
  await assertBack(start)
})
