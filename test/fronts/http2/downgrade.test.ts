import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { HpackDecoder } from '../../../src/http2/hpack-decoder.ts'
import { FLAG, FRAME, PREFACE } from '../../../src/http2/protocol.ts'
import { createProxy } from '../../../src/index.ts'
import { mockBackend } from '../../../src/testing/index.ts'
import { block, frame, settings } from '../../http2/wire.ts'

type Fields = readonly (readonly [string, string])[]

const BASE: Fields = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', 'x.test'],
  [':path', '/p'],
]

/** {@link BASE} with other values (`null`: without), and more fields. */
function request(other: Readonly<Record<string, string | null>>, ...more: Fields): Fields {
  const kept = BASE.map(([name, value]) => [name, name in other ? other[name] : value] as const)
  return [...kept.filter((field): field is readonly [string, string] => field[1] !== null), ...more]
}

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'

/** Requests that could mean another thing in HTTP/1.1: what the client gets, and how often the backend is asked. */
const CASES: Readonly<Record<string, readonly [Fields, answer: number | 'reset', body?: string]>> = {
  'a plain one': [BASE, 200],
  'a method with a space': [request({ ':method': 'GET /admin HTTP/1.1' }), 'reset'],
  'a method with CR LF': [request({ ':method': 'GET / HTTP/1.1\r\nX: y' }), 'reset'],
  'an empty method': [request({ ':method': '' }), 'reset'],
  'a path with a space': [request({ ':path': '/p HTTP/1.1' }), 400],
  'a path with a tab': [request({ ':path': '/p\tx' }), 400],
  'a path without a slash': [request({ ':path': 'http://other/' }), 400],
  'a path with a fragment': [request({ ':path': '/p#x' }), 400],
  'an empty path': [request({ ':path': '' }), 'reset'],
  'no path': [request({ ':path': null }), 'reset'],
  'the path *': [request({ ':path': '*' }), 400],
  'an authority with a path': [request({ ':authority': 'a/b' }), 400],
  'an authority with a user': [request({ ':authority': 'u@x.test' }), 400],
  'an authority with CR LF': [request({ ':authority': 'x\r\nY: z' }), 'reset'],
  'another host': [request({}, ['host', 'other.test']), 400],
  'the same host': [request({}, ['host', 'X.test']), 200],
  'two hosts and no authority': [request({ ':authority': null }, ['host', 'a'], ['host', 'b']), 400],
  'neither host nor authority': [request({ ':authority': null }), 400],
  'another scheme': [request({ ':scheme': 'ftp' }), 400],
  'a scheme with CR LF': [request({ ':scheme': 'http://x\r\n' }), 'reset'],
  'a value with CR LF': [request({}, ['x-a', 'b\r\nTransfer-Encoding: chunked']), 'reset'],
  'a value with LF': [request({}, ['x-a', 'b\nY: z']), 'reset'],
  'a value with NUL': [request({}, ['x-a', 'b\0']), 'reset'],
  'a name with a colon': [request({}, ['x-a: b', 'c']), 'reset'],
  'a name with CR LF': [request({}, ['x\r\ny', 'c']), 'reset'],
  'a name in upper case': [request({}, ['X-A', 'c']), 'reset'],
  'Transfer-Encoding': [
    request({ ':method': 'POST' }, ['transfer-encoding', 'chunked']),
    'reset',
    `0\r\n\r\n${SMUGGLED}`,
  ],
  'Content-Length too small': [request({ ':method': 'POST' }, ['content-length', '1']), 'reset', SMUGGLED],
  'Content-Length too large': [request({ ':method': 'POST' }, ['content-length', '100']), 'reset', 'abc'],
  'Content-Length without a body': [request({}, ['content-length', '3']), 'reset'],
  'two that differ': [request({ ':method': 'POST' }, ['content-length', '3'], ['content-length', '4']), 400, 'abc'],
  'Content-Length +3': [request({ ':method': 'POST' }, ['content-length', '+3']), 'reset', 'abc'],
  'TE other than trailers': [request({}, ['te', 'gzip']), 'reset'],
  Connection: [request({}, ['connection', 'x-forwarded-for']), 'reset'],
  Upgrade: [request({}, ['upgrade', 'h2c']), 'reset'],
  'a name that resembles ours': [request({}, ['x_forwarded_for', '6.6.6.6']), 200],
  CONNECT: [request({ ':method': 'CONNECT', ':scheme': null, ':path': null }), 400],
  'CONNECT with a path': [request({ ':method': 'CONNECT' }), 'reset'],
  'a protocol without CONNECT': [[[':protocol', 'websocket'], ...BASE], 'reset'],
  'a pseudo-header field twice': [[...BASE, [':path', '/q']], 'reset'],
  'one that is not known': [[[':x', 'y'], ...BASE], 'reset'],
  'one of responses': [[[':status', '200'], ...BASE], 'reset'],
}

/** Sends one request by frames; the status of the response, or that its stream is reset. */
async function ask(port: number, fields: Fields, body?: string): Promise<number | 'reset'> {
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  const end = body === undefined ? FLAG.END_STREAM : 0
  socket.write(Buffer.concat([PREFACE, settings(), frame(FRAME.HEADERS, FLAG.END_HEADERS | end, 1, block(fields))]))
  if (body !== undefined) socket.write(frame(FRAME.DATA, FLAG.END_STREAM, 1, Buffer.from(body)))
  const decoder = new HpackDecoder({ maxHeadBytes: 65_536, maxHeaders: 100 })
  let bytes = Buffer.alloc(0)
  try {
    for await (const chunk of socket) {
      bytes = Buffer.concat([bytes, chunk as Buffer])
      while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const to = 9 + bytes.readUIntBE(0, 3)
        if (bytes[3] === FRAME.HEADERS) return Number(decoder.decode(bytes, 9, to)?.pseudo[1])
        if (bytes[3] === FRAME.RST_STREAM) return 'reset'
        assert.notEqual(bytes[3], FRAME.GOAWAY)
        bytes = bytes.subarray(to)
      }
    }
  } finally {
    socket.destroy()
  }
  return assert.fail('the connection ended without an answer')
}

for (const [what, [fields, answer, body]] of Object.entries(CASES)) {
  test(`downgrade to HTTP/1.1: ${what}`, async () => {
    await using backend = await mockBackend()
    await using proxy = createProxy({ target: backend.url, logger: 'silent' })
    const { port } = await proxy.listen({ host: '127.0.0.1', port: 0, protocols: ['h2', 'http/1.1'] })
    assert.equal(await ask(port, fields, body), answer)
    assert.deepEqual(backend.faults, [])
    if (answer === 200) {
      assert.deepEqual(
        backend.requests.map((one) => [one.method, one.path, one.header('host')]),
        [['GET', '/p', 'x.test']],
      )
      assert.equal(backend.requests[0]?.header('x_forwarded_for'), undefined)
    } else for (const one of backend.requests) assert.notEqual(one.path, '/smuggled')
  })
}
