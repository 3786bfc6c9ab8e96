import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import net, { type AddressInfo, type Socket } from 'node:net'
import { test } from 'node:test'
import { releaseOutput } from '../../src/http2/frame-writer.ts'
import { Session, type SessionHandler } from '../../src/http2/session.ts'
import type { Http2Stream } from '../../src/http2/stream.ts'

/** Puts a session on a socket, in the simplest way. */
function onSocket(socket: Socket, isServer: boolean, handler: Partial<SessionHandler>): Session {
  const session: Session = new Session(
    {
      onOutput: () => setImmediate(write),
      onRequest: () => {},
      onSettings: () => {},
      onGoAway: () => {},
      onFault: () => setImmediate(() => socket.end()),
      ...handler,
    },
    {
      isServer,
      bounds: { maxHeadBytes: 65_536, maxHeaders: 1000 },
      maxStreams: 128,
      firstWindow: 65_535,
      largestWindow: 1 << 20,
      now: () => performance.now(),
    },
  )
  function write(): void {
    for (const output of session.takeOutput()) {
      socket.write(output.buffer.subarray(0, output.bytes), () => {
        releaseOutput(output)
        session.onWritten(output.bytes)
      })
    }
  }
  session.start()
  write()
  socket
    .on('data', (bytes) => session.receive(bytes))
    .on('error', () => {})
    .on('close', () => session.abort(8))
  return session
}

const BIG = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => (i * 7919) >>> 3))

/** Sends back what comes, with its length as a trailer. */
function echo(stream: Http2Stream): void {
  let bytes = 0
  let held = 0
  stream.sendHead([':status', '200'], ['x-path', 'echo'])
  stream.sink = {
    onHead: () => {},
    onData(chunk) {
      bytes += chunk.length
      if (stream.write(chunk)) stream.consume(chunk.length)
      else held += chunk.length
    },
    onEnd: () => stream.end(['x-bytes', String(bytes)]),
    onSent: () => {},
    onReset: () => {},
    onWritable() {
      stream.consume(held)
      held = 0
    },
  }
}

test("node's client: many streams at once, bodies both ways, trailers", async () => {
  const server = net.createServer((socket) => onSocket(socket, true, { onRequest: echo }))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    // Its default refuses streams if much is to be sent (nodejs/node#27416).
    maxSessionMemory: 100,
  })
  async function ask(i: number): Promise<void> {
    const body = BIG.subarray(0, i * 20_000)
    const stream = client.request({ ':method': 'POST', ':path': `/${i}`, 'x-number': String(i % 3) })
    const trailers = once(stream, 'trailers')
    stream.end(body)
    const chunks: Buffer[] = []
    for await (const chunk of stream) chunks.push(chunk as Buffer)
    assert.ok(Buffer.concat(chunks).equals(body), String(i))
    assert.equal((await trailers)[0]['x-bytes'], String(body.length))
  }
  for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: 40 }, (_, i) => ask(i)))
  client.close()
  server.close()
})

test("node's server: many streams at once, bodies both ways, trailers", async () => {
  const server = http2.createServer()
  server.on('stream', (stream, headers) => {
    stream.respond({ ':status': 200, 'x-path': headers[':path'] ?? '' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-done': 'yes' }))
    stream.pipe(stream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  await new Promise<void>((resolve) => {
    const session = onSocket(socket, false, {
      onSettings() {
        let left = 40
        for (let i = 0; i < 40; i++) {
          const body = BIG.subarray(0, i * 20_000)
          const stream = session.open()
          const chunks: Buffer[] = []
          stream.sink = {
            onHead(block) {
              assert.deepEqual(
                [block.pseudo, block.list.slice(0, 2)],
                [
                  [':status', '200'],
                  ['x-path', `/${i}`],
                ],
              )
              stream.hasHead = true
            },
            onData(chunk) {
              chunks.push(Buffer.from(chunk))
              stream.consume(chunk.length)
            },
            onEnd(trailers) {
              assert.ok(Buffer.concat(chunks).equals(body), String(i))
              assert.deepEqual(trailers, ['x-done', 'yes'])
              if (--left === 0) resolve()
            },
            onSent: () => {},
            onReset: (code) => assert.fail(`reset ${code}`),
            onWritable: () => {},
          }
          stream.sendHead([':method', 'POST', ':scheme', 'http', ':authority', 'a.test', ':path', `/${i}`], [])
          stream.write(body)
          stream.end()
        }
      },
    })
  })
  socket.destroy()
  server.close()
})
