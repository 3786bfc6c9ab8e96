import assert from 'node:assert/strict'
import http from 'node:http'
import { describe, test } from 'node:test'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS, type RunningProxy, rounds, runInServer } from '../support/running-proxy.ts'

/** A request that no backend may see, and no client may have an answer to. */
const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: example.test\r\n\r\n'

const BODIES: Record<string, { extra: string; body: string }> = {
  'no body': { extra: '', body: '' },
  'Content-Length': { extra: `Content-Length: ${HIDDEN.length}\r\n`, body: HIDDEN },
  'Content-Length: 0': { extra: 'Content-Length: 0\r\n', body: '' },
  chunks: {
    extra: 'Transfer-Encoding: chunked\r\n',
    body: `${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`,
  },
}

const ASKED: Record<string, string> = {
  h2c: 'Connection: Upgrade\r\nUpgrade: h2c\r\n',
  'h2c with its settings': 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n',
  'h2c, nominated in capitals among others': 'Connection: x, UPGRADE ,y\r\nUpgrade: h2c\r\n',
  'h2c, nominated in Proxy-Connection': 'Proxy-Connection: upgrade\r\nConnection: close\r\nUpgrade: h2c\r\n',
  'HTTP/2.0': 'Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n',
  'a websocket that no route has': 'Connection: Upgrade\r\nUpgrade: websocket\r\nX-Elsewhere: yes\r\n',
}

/** How the bytes fall into segments: the end of the head is at `head`. */
const SEGMENTS: Record<string, (head: number, all: number) => number[]> = {
  'in one segment': () => [],
  'cut behind the head': (head) => [head],
  'cut in the body': (head) => [head + 5],
  'cut in the request behind': (_head, all) => [all - 20],
  'cut before the request behind': (_head, all) => [all - HIDDEN.length],
}

const WAYS = [
  ...FRONTS,
  {
    name: "createServer(proxy.web), no 'upgrade' listener",
    run: (options: object): Promise<RunningProxy> => runInServer(options as never),
  },
  {
    name: "createServer(proxy.web).on('upgrade', proxy.ws)",
    run: (options: object): Promise<RunningProxy> =>
      runInServer(options as never, (proxy) => http.createServer(proxy.web).on('upgrade', proxy.ws)),
  },
]

for (const { name, run } of WAYS) {
  describe(`${name}: what is behind an upgrade that is not taken is no request`, () => {
    for (const [asked, lines] of Object.entries(ASKED)) {
      test(asked, async () => {
        await using backend = await mockBackend()
        await using front = await run({ target: backend.url, routes: [{ path: '/asked' }, { path: '/hidden' }] })
        for (const [framing, { extra, body }] of Object.entries(BODIES)) {
          for (const [how, cutsOf] of Object.entries(SEGMENTS)) {
            const path = lines.includes('Elsewhere') ? '/elsewhere' : '/asked'
            const head = `POST ${path} HTTP/1.1\r\nHost: example.test\r\n${lines}${extra}\r\n`
            const all = head + body + HIDDEN
            const client = rawClient(front.port)
            client.socket.setNoDelay(true)
            let from = 0
            for (const at of [...cutsOf(head.length, all.length), all.length]) {
              client.write(all.slice(from, at))
              from = at
              await rounds(10)
            }
            await client.ended
            const what = `${framing}, ${how}: ${client.text}`
            assert.equal(client.text.match(/HTTP\/1\.1 \d+/g)?.length ?? 0, client.text === '' ? 0 : 1, what)
            if (client.text !== '') assert.match(client.text, /\r\nConnection: close\r\n/i, what)
            assert.deepEqual(
              backend.requests.filter((request) => request.path === '/hidden'),
              [],
              what,
            )
          }
        }
      })
    }
  })
}

test("an attached server's application answers one that is not ours, and nothing behind it", async () => {
  await using backend = await mockBackend()
  const seen: (string | undefined)[] = []
  await using front = await runInServer({ target: backend.url }, (proxy) => {
    const server = http.createServer((req, res) => {
      seen.push(req.url)
      // Late, so that what is behind comes before the answer.
      if (req.url === '/own') setImmediate(() => setImmediate(() => res.end('own')))
      else proxy.web(req, res)
    })
    proxy.attach(server)
    return server
  })
  const client = rawClient(front.port)
  client.write('GET /own HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')
  await rounds(1)
  client.write(HIDDEN)
  await client.ended
  assert.match(client.text, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(client.text, /\r\nConnection: close\r\n/i)
  assert.equal(client.text.match(/HTTP\/1\.1 \d+/g)?.length, 1)
  assert.equal(backend.requests.length, 0)
  assert.equal(seen[0], '/own')
})

for (const [what, change] of Object.entries({
  'a target with a line break': { url: '/ HTTP/1.1\r\nHost: x\r\n\r\nGET /hidden' },
  'a method with a space': { method: 'GET /hidden' },
})) {
  test(`${what}, from the application: 400, and no request of it`, async () => {
    await using backend = await mockBackend()
    await using front = await runInServer({ target: backend.url }, (proxy) =>
      http.createServer(proxy.web).on('upgrade', (req, socket, head) => {
        proxy.ws(Object.assign(req, change), socket, head)
      }),
    )
    const client = rawClient(front.port)
    client.write('GET /asked HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')
    await client.ended
    assert.match(client.text, /^HTTP\/1\.1 400 /)
    assert.equal(backend.connections, 0)
  })
}

test('a target with spaces and with letters whose low bytes would end a line, from the application, is one encoded target', async () => {
  await using backend = await mockBackend()
  const url = '/ HTTP/1.1\u010d\u010aHost: x\u010d\u010a\u010d\u010aGET /hidden'
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer(proxy.web).on('upgrade', (req, socket, head) => {
      proxy.ws(Object.assign(req, { url }), socket, head)
    }),
  )
  const client = rawClient(front.port)
  client.write('GET /asked HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')
  await client.ended
  assert.match(client.text, /^HTTP\/1\.1 200 /)
  assert.deepEqual(
    backend.requests.map((request) => request.path),
    [encodeURI(url)],
  )
})

for (const { name, run } of FRONTS) {
  test(`${name}: Upgrade that nothing nominates costs no connection`, async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url })
    const client = rawClient(front.port)
    const request = 'GET /asked HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nUpgrade: h2c\r\n\r\n'
    client.write(request)
    await client.until('\r\n\r\nGET')
    client.write(request)
    while (client.text.match(/HTTP\/1\.1 200/g)?.length !== 2) await rounds(1)
    assert.doesNotMatch(client.text, /connection: close/i)
    client.socket.destroy()
  })
}
