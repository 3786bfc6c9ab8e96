import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { MockHandler } from '../../src/testing/index.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { FRONTS } from '../support/running-proxy.ts'
import { NEXT, type Stage, stage, statuses } from './stage.ts'

const OK = 'HTTP/1.1 200 OK\r\n'
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`
const LAST = '0\r\n\r\n'
const INTERIM = 'HTTP/1.1 102 Processing\r\n\r\n'

interface Case {
  readonly rule: string
  readonly answer: string
  readonly method?: string
}

const framing: Case[] = [
  {
    rule: 'a Connection list of more than 4096 bytes',
    answer: `${OK}${`Connection: ${'x, '.repeat(600)}x\r\n`.repeat(3)}Content-Length: 0\r\n\r\n`,
  },
  { rule: 'both framings', answer: `${OK}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n${LAST}` },
  {
    rule: 'both framings, to HEAD',
    answer: `${OK}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n`,
    method: 'HEAD',
  },
  { rule: 'Content-Lengths that differ', answer: `${OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\na` },
  { rule: 'a list as Content-Length', answer: `${OK}Content-Length: 1, 1\r\n\r\na` },
  { rule: 'Content-Length with a plus sign', answer: `${OK}Content-Length: +1\r\n\r\na` },
  { rule: 'Content-Length with a minus sign', answer: `${OK}Content-Length: -1\r\n\r\na` },
  { rule: 'Content-Length in hexadecimal', answer: `${OK}Content-Length: 0x1\r\n\r\na` },
  { rule: 'Content-Length with a space inside', answer: `${OK}Content-Length: 1 0\r\n\r\na` },
  { rule: 'an empty Content-Length', answer: `${OK}Content-Length:\r\n\r\na` },
  { rule: 'Content-Length over 2^53', answer: `${OK}Content-Length: 9007199254740993\r\n\r\na` },
  { rule: 'an unknown coding', answer: `${OK}Transfer-Encoding: gzip\r\n\r\na` },
  { rule: 'an unknown coding before chunked', answer: `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n${LAST}` },
  { rule: 'chunked not last', answer: `${OK}Transfer-Encoding: chunked, identity\r\n\r\n${LAST}` },
  {
    rule: 'chunked in two lines',
    answer: `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n${LAST}`,
  },
  { rule: 'an empty Transfer-Encoding', answer: `${OK}Transfer-Encoding:\r\n\r\n${LAST}` },
  { rule: 'a vertical tab before chunked', answer: `${OK}Transfer-Encoding: \vchunked\r\n\r\n${LAST}` },
  { rule: 'Transfer-Encoding in HTTP/1.0', answer: `HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${LAST}` },
]

const heads: Case[] = [
  { rule: 'lines that end with LF alone', answer: 'HTTP/1.1 200 OK\nContent-Length: 1\n\na' },
  { rule: 'a bare LF in a value', answer: `${OK}X: a\nContent-Length: 1\r\n\r\na` },
  { rule: 'a bare CR in a value', answer: `${OK}X: a\rContent-Length: 1\r\n\r\na` },
  { rule: 'NUL in a value', answer: `${OK}X: \0\r\nContent-Length: 1\r\n\r\na` },
  { rule: 'DEL in a value', answer: `${OK}X: \x7f\r\nContent-Length: 1\r\n\r\na` },
  { rule: 'a folded line', answer: `${OK}X: a\r\n b\r\nContent-Length: 1\r\n\r\na` },
  { rule: 'a space before the colon', answer: `${OK}Content-Length : 1\r\n\r\na` },
  { rule: 'a space in a name', answer: `${OK}X Y: 1\r\nContent-Length: 1\r\n\r\na` },
  { rule: 'a byte beyond ASCII in a name', answer: `${OK}X\xe9: 1\r\nContent-Length: 1\r\n\r\na` },
  { rule: 'an empty name', answer: `${OK}: 1\r\nContent-Length: 1\r\n\r\na` },
  { rule: 'a line without a colon', answer: `${OK}X\r\nContent-Length: 1\r\n\r\na` },
  { rule: 'a control character in the reason', answer: 'HTTP/1.1 200 O\rK\r\nContent-Length: 1\r\n\r\na' },
  { rule: 'another version', answer: 'HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na' },
  { rule: 'a newer minor version', answer: 'HTTP/1.2 200 OK\r\nContent-Length: 1\r\n\r\na' },
  { rule: 'http in small letters', answer: 'http/1.1 200 OK\r\nContent-Length: 1\r\n\r\na' },
  { rule: 'a status of two digits', answer: 'HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\na' },
  { rule: 'a status of four digits', answer: 'HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\na' },
  { rule: 'a status under 100', answer: 'HTTP/1.1 099 OK\r\nContent-Length: 1\r\n\r\na' },
  { rule: 'a body without a head', answer: '<html>' },
  { rule: 'an empty line before the status line', answer: `\r\n${OK}Content-Length: 1\r\n\r\na` },
  { rule: 'a head without end', answer: `${OK}X: ${'x'.repeat(70_000)}` },
  {
    rule: 'a head over pool.maxResponseHeadBytes',
    answer: `${OK}X: ${'x'.repeat(70_000)}\r\nContent-Length: 1\r\n\r\na`,
  },
  {
    rule: 'a 101 that was not asked for',
    answer: 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n',
  },
  {
    rule: 'more than 100 interim responses',
    answer: `${INTERIM.repeat(101)}${OK}Content-Length: 1\r\n\r\na`,
  },
  {
    rule: 'an interim response with a body',
    answer: `HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\nhello${OK}Content-Length: 1\r\n\r\na`,
  },
]

const bodies: Case[] = [
  { rule: 'a chunk size that is no number', answer: `${CHUNKED}zz\r\n` },
  { rule: 'a chunk size with a sign', answer: `${CHUNKED}+1\r\na\r\n${LAST}` },
  { rule: 'a chunk size with 0x', answer: `${CHUNKED}0x1\r\na\r\n${LAST}` },
  { rule: 'a chunk size over 2^44', answer: `${CHUNKED}100000000001\r\na\r\n${LAST}` },
  { rule: 'a chunk size with a space', answer: `${CHUNKED}1 \r\na\r\n${LAST}` },
  { rule: 'a chunk size ended by LF', answer: `${CHUNKED}1\na\r\n${LAST}` },
  { rule: 'a bare LF in a chunk extension', answer: `${CHUNKED}1;x\na\r\n${LAST}` },
  { rule: 'chunk extensions without end', answer: `${CHUNKED}1;${'x'.repeat(5000)}\r\na\r\n${LAST}` },
  { rule: 'a chunk longer than its size', answer: `${CHUNKED}1\r\nab\r\n${LAST}` },
  { rule: 'LF behind a chunk', answer: `${CHUNKED}1\r\na\n${LAST}` },
  { rule: 'a folded trailer', answer: `${CHUNKED}1\r\na\r\n0\r\nX: a\r\n b\r\n\r\n` },
  { rule: 'a trailer with a space before the colon', answer: `${CHUNKED}1\r\na\r\n0\r\nX : a\r\n\r\n` },
  { rule: 'trailers without end', answer: `${CHUNKED}1\r\na\r\n0\r\nX: ${'x'.repeat(20_000)}\r\n\r\n` },
]

/** What is passed on, and what becomes of the backend's connection. */
interface Passed extends Case {
  /** As the client reads it, without the head. */
  readonly body: string
  readonly isReused: boolean
}

const passed: Passed[] = [
  {
    rule: 'bytes behind a body with Content-Length',
    answer: `${OK}Content-Length: 1\r\n\r\nab`,
    body: 'a',
    isReused: false,
  },
  {
    rule: 'a second response behind the first',
    answer: `${OK}Content-Length: 1\r\n\r\na${OK}Content-Length: 1\r\n\r\nb`,
    body: 'a',
    isReused: false,
  },
  {
    rule: 'bytes behind the last chunk',
    answer: `${CHUNKED}1\r\na\r\n${LAST}x`,
    body: `1\r\na\r\n${LAST}`,
    isReused: false,
  },
  {
    rule: 'a body in an answer to HEAD',
    answer: `${OK}Content-Length: 1\r\n\r\na`,
    method: 'HEAD',
    body: '',
    isReused: false,
  },
  { rule: 'a body in a 204', answer: 'HTTP/1.1 204 No Content\r\n\r\na', body: '', isReused: false },
  {
    rule: 'a body in a 304',
    answer: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n\r\na',
    body: '',
    isReused: false,
  },
  {
    rule: 'a 204 that announces a body',
    answer: 'HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n',
    body: '',
    isReused: false,
  },
  {
    rule: 'a 204 that announces chunks',
    answer: 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n',
    body: '',
    isReused: false,
  },
  {
    rule: 'a 204 with Content-Length: 0',
    answer: 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
    body: '',
    isReused: true,
  },
  {
    rule: 'a Content-Length in an answer to HEAD',
    answer: `${OK}Content-Length: 5\r\n\r\n`,
    method: 'HEAD',
    body: '',
    isReused: false,
  },
  {
    rule: 'Content-Lengths that agree',
    answer: `${OK}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`,
    body: 'a',
    isReused: true,
  },
  { rule: 'chunk extensions', answer: `${CHUNKED}1;x=y\r\na\r\n${LAST}`, body: `1\r\na\r\n${LAST}`, isReused: true },
  {
    rule: 'chunked in capitals',
    answer: `${OK}Transfer-Encoding: CHUNKED\r\n\r\n1\r\na\r\n${LAST}`,
    body: `1\r\na\r\n${LAST}`,
    isReused: true,
  },
  {
    rule: 'trailers that a head may have and a trailer may not',
    answer: `${CHUNKED}0\r\nSet-Cookie: a\r\nX_Forwarded_For: 1\r\nLocation: /\r\nX: a\r\n\r\n`,
    body: '0\r\nX: a\r\n\r\n',
    isReused: true,
  },
  {
    rule: 'trailers that Connection nominates',
    answer: `${OK}Connection: X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-HOP: 1\r\nX: a\r\n\r\n`,
    body: '0\r\nX: a\r\n\r\n',
    isReused: true,
  },
  {
    rule: 'a Content-Length in the trailers',
    answer: `${CHUNKED}1\r\na\r\n0\r\nContent-Length: 1\r\nX: a\r\n\r\n`,
    body: '1\r\na\r\n0\r\nX: a\r\n\r\n',
    isReused: true,
  },
  {
    rule: '100 interim responses',
    answer: `${INTERIM.repeat(100)}${OK}Content-Length: 1\r\n\r\na`,
    body: 'a',
    isReused: true,
  },
]

/** Sends an answer as it is to all but {@link NEXT}. */
function say(answer: string): MockHandler {
  return (request, reply) => {
    if (request.path === '/next') return reply.send({ body: 'GET /next' })
    reply.raw(answer)
    reply.end()
  }
}

for (const { name, run } of FRONTS) {
  describe(`responses, ${name}`, () => {
    let on: Stage
    before(async () => {
      on = await stage({ healthCheck: false }, undefined, run)
    })
    after(() => on[Symbol.asyncDispose]())

    /** From now on; what an earlier test has left is forgotten. */
    function use(answer: string): void {
      on.arrived()
      on.backend.use(say(answer))
    }

    for (const [area, cases] of Object.entries({ framing, heads })) {
      describe(`${area}: 502, the backend's connection is not used again, the client's is`, () => {
        for (const { rule, answer, method = 'GET' } of cases) {
          test(rule, async () => {
            use(answer)
            const client = rawClient(on.front.port)
            client.write(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`)
            await client.until('GET /next')
            assert.deepEqual(statuses(client.text), [502, 200])
            if (method !== 'HEAD') assert.match(client.text, /\(ERR_PROXY_BAD_RESPONSE\)\n/)
            const [bad, next] = on.arrived()
            assert.notEqual(bad?.connection, next?.connection)
            client.socket.destroy()
          })
        }
      })
    }

    describe('bodies that break off: the client sees it, and what is behind them is no response', () => {
      for (const { rule, answer } of bodies) {
        test(rule, async () => {
          use(answer)
          const { text } = await converse(on.front.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
          assert.deepEqual(statuses(text), [200])
          assert.ok(!text.endsWith(LAST), text)
          assert.equal(on.front.errors.at(-1)?.code, 'ERR_PROXY_TRUNCATED')
          const next = rawClient(on.front.port)
          next.write(NEXT)
          await next.until('GET /next')
          next.socket.destroy()
          const [bad, good] = on.arrived()
          assert.notEqual(bad?.connection, good?.connection)
        })
      }
    })

    describe('passed on', () => {
      for (const { rule, answer, method = 'GET', body, isReused } of passed) {
        test(rule, async () => {
          use(answer)
          const client = rawClient(on.front.port)
          client.write(`${method} / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n${NEXT}`)
          await client.until('GET /next')
          const final = client.text.slice(client.text.search(/HTTP\/1\.1 [23]/))
          const second = final.lastIndexOf('HTTP/1.1 200 OK')
          assert.equal(final.slice(final.indexOf('\r\n\r\n') + 4, second), body)
          assert.equal(statuses(client.text).length, 2)
          const [first, next] = on.arrived()
          assert.equal(first?.connection === next?.connection, isReused)
          client.socket.destroy()
        })
      }
    })

    test('what a backend cannot nominate away', async () => {
      const kept = [
        'Content-Type: text/html',
        'Content-Encoding: gzip',
        'Cache-Control: private',
        'Set-Cookie: a=1',
        'Set-Cookie: b=2',
      ]
      const names = 'close, X-Hop, Content-Type, Content-Encoding, Cache-Control, Set-Cookie, Content-Length'
      on.backend.use(say(`${OK}Connection: ${names}\r\n${kept.join('\r\n')}\r\nX-Hop: 1\r\nContent-Length: 1\r\n\r\na`))
      const { text } = await converse(on.front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
      assert.ok(text.includes(`\r\n${kept.join('\r\n')}\r\nContent-Length: 1\r\n`), text)
      assert.doesNotMatch(text, /X-Hop/)
    })
  })
}
