import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { untilRefused } from '../support/raw-client.ts'
import { directory, start } from './command.ts'

/** No idle connection is left, so that the command has nothing to wait for when it ends. */
const CLOSE = { connection: 'close' }

test('it proxies, logs each exchange, and prints its address', async (t) => {
  const backend = await serveBackend(t, (res) => res.end('hello'))
  const heddle = start(t, ['--listen', '127.0.0.1:0', '--backend', backend.url])
  const url = await heddle.url()
  const response = await fetch(`${url}/path?x`, {
    headers: { ...CLOSE, 'user-agent': 'tester', referer: 'http://from/' },
  })
  assert.equal(await response.text(), 'hello')
  heddle.child.kill('SIGTERM')
  const { code, stdout } = await heddle.exit()
  assert.equal(code, 0)
  const line = /^127\.0\.0\.1 - - \[[^\]]+\] "GET \/path\?x HTTP\/1\.1" 200 5 "http:\/\/from\/" "tester"\n$/
  assert.match(stdout, line)
})

test('the access log has other formats, and can be off', async (t) => {
  const backend = await serveBackend(t, (res) => res.end('hello'))
  const formats: [format: string, line: RegExp][] = [
    ['common', /^127\.0\.0\.1 - - \[[^\]]+\] "GET \/ HTTP\/1\.1" 200 5\n$/],
    ['json', /^\{.*"status":200.*\}\n$/],
    ['off', /^$/],
  ]
  await Promise.all(
    formats.map(async ([format, line]) => {
      const heddle = start(t, ['--listen', '127.0.0.1:0', '--backend', backend.url, '--access-log', format])
      await (await fetch(await heddle.url(), { headers: CLOSE })).text()
      heddle.child.kill('SIGTERM')
      assert.match((await heddle.exit()).stdout, line)
    }),
  )
})

test('the file sets listen, log and backends', async (t) => {
  const backend = await serveBackend(t, (res) => res.end('hello'))
  const config = { backends: [backend.url], listen: '127.0.0.1:0', log: { access: 'off' } }
  const cwd = directory(t, { 'heddle.config.json': JSON.stringify(config) })
  const heddle = start(t, [], cwd)
  assert.equal(await (await fetch(await heddle.url(), { headers: CLOSE })).text(), 'hello')
  heddle.child.kill('SIGTERM')
  assert.equal((await heddle.exit()).stdout, '')
})

test('without a terminal, diagnostics are JSON lines on standard error', async (t) => {
  const backend = await serveBackend(t, (res) => res.end('hello'))
  const heddle = start(t, ['--listen', '127.0.0.1:0', '--backend', backend.url])
  await heddle.url()
  heddle.child.kill('SIGTERM')
  const { stderr } = await heddle.exit()
  for (const line of stderr.trim().split('\n')) assert.equal(JSON.parse(line).level, 'info')
})

test('SIGTERM lets a running exchange finish and takes no new ones', async (t) => {
  const waiting: ServerResponse[] = []
  const backend = await serveBackend(t, (res) => waiting.push(res))
  const heddle = start(t, ['--listen', '127.0.0.1:0', '--backend', backend.url])
  const url = await heddle.url()
  const response = fetch(url)
  await backend.requested()
  heddle.child.kill('SIGTERM')
  await heddle.output(/SIGTERM: shutting down/)
  await untilRefused(Number(new URL(url).port))
  waiting[0]?.end('to the end')
  assert.equal(await (await response).text(), 'to the end')
  const { code, stdout } = await heddle.exit()
  assert.equal(code, 0)
  assert.match(stdout, / 200 10 /)
})

test('a second signal exits at once', async (t) => {
  const backend = await serveBackend(t, () => {})
  const cases = [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const
  for (const [signal, expected] of cases) {
    const heddle = start(t, ['--listen', '127.0.0.1:0', '--backend', backend.url])
    const response = fetch(await heddle.url())
    response.catch(() => {})
    await backend.requested()
    heddle.child.kill(signal)
    await heddle.output(/: shutting down/)
    const began = performance.now()
    heddle.child.kill(signal)
    assert.equal((await heddle.exit()).code, expected)
    assert.ok(performance.now() - began < 2000)
    await assert.rejects(response)
  }
})

test('a port in use is one line with its number, and exit code 1', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  for (const args of [['--backend', 'http://127.0.0.1:1'], ['demo']]) {
    const { code, stdout, stderr } = await start(t, [...args, '--listen', `127.0.0.1:${port}`]).exit()
    assert.equal(code, 1)
    assert.equal(stdout, '')
    assert.match(stderr, new RegExp(`^heddle: cannot listen on 127\\.0\\.0\\.1:${port}: .*EADDRINUSE.*\\n$`))
  }
})

test('a foreign host address is one line as well', async (t) => {
  const { code, stderr } = await start(t, ['--backend', 'http://127.0.0.1:1', '--listen', '192.0.2.1:0']).exit()
  assert.equal(code, 1)
  assert.match(stderr, /^heddle: cannot listen on 192\.0\.2\.1:0: .*EADDRNOTAVAIL.*\n$/)
})

async function serveBackend(t: TestContext, answer: (res: ServerResponse) => void) {
  const server = http.createServer((_, res) => answer(res)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    /** The next request has arrived. */
    requested: () => once(server, 'request'),
  }
}
