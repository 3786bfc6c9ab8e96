import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { directory, start } from './command.ts'
import { ESC, startOnTerminal, withoutTerminal } from './terminal.ts'

test('the demo starts, suggests commands, logs requests and ends gracefully', async (t) => {
  const heddle = start(t, ['demo', '--listen', '127.0.0.1:0'])
  const url = await heddle.url()
  await heddle.output(/Press Ctrl-C to stop/)
  assert.equal(heddle.stdout().match(/\n {2}curl /g)?.length, 3)
  // In a pipe nothing moves the cursor.
  assert.ok(!heddle.stdout().includes(ESC))

  const seen = new Set<string>()
  for (let i = 0; i < 60 && seen.size < 3; i += 1) {
    const response = await fetch(url)
    assert.match(await response.text(), /^hello from \w+\n$/)
    seen.add(response.headers.get('x-demo-backend') ?? '')
  }
  assert.deepEqual([...seen].sort(), ['leisurely', 'steady', 'swift'])

  const page = await fetch(url, { headers: { accept: 'text/html,*/*' } })
  assert.match(await page.text(), /<h1>Hello from \w+<\/h1>/)
  const echo = await fetch(`${url}/echo?x`, { method: 'POST', body: 'hello' })
  const { method, url: path, body, bytes } = (await echo.json()) as Record<string, unknown>
  assert.deepEqual({ method, path, body, bytes }, { method: 'POST', path: '/echo?x', body: 'hello', bytes: 5 })
  assert.match(await (await fetch(`${url}/slow?ms=50`)).text(), /a slow response from \w+/)
  assert.equal((await fetch(`${url}/none`)).status, 404)

  const stream = await fetch(`${url}/events`)
  const reader = stream.body?.getReader()
  const first = await reader?.read()
  assert.match(new TextDecoder().decode(first?.value), /^id: 1\ndata: \{"backend":"\w+","count":1\}\n\n$/)

  heddle.child.kill('SIGINT')
  while ((await reader?.read())?.done === false);
  const { code, stdout, stderr } = await heddle.exit()
  assert.equal(code, 0)
  assert.equal(stderr, '')
  assert.match(stdout, /\n\d\d:\d\d:\d\d 200 POST \/echo\?x from \w+ in \d+ ms\n/)
})

test('the commands of the demo show balancing, failure and recovery', async (t) => {
  const heddle = start(t, ['demo', '--listen', '127.0.0.1:0'])
  const url = await heddle.url()
  await heddle.output(/Press Ctrl-C to stop/)
  const [balance, stop, recover] = Array.from(heddle.stdout().matchAll(/^ {2}(curl .*)$/gm), ([, command]) => command)
  assert.deepEqual(
    [balance, stop, recover],
    [`curl "${url}/?[1-30]"`, `curl -X POST ${url}/stop/steady`, `curl -X POST ${url}/start/steady`],
  )
  const ask = async (): Promise<string> => (await fetch(`${url}/?1`)).text()
  const post = async (path: string): Promise<string> => (await fetch(`${url}${path}`, { method: 'POST' })).text()

  const seen = new Set<string>()
  while (seen.size < 3) seen.add(await ask())
  assert.equal(await post('/stop/steady'), 'steady stops\n')
  await heddle.output(/\d steady has been stopped\n/)
  // The others respond in its place, until it is ejected, and after that.
  while (!/steady is ejected for 5 s: 3 failures in a row/.test(heddle.stdout())) {
    assert.match(await ask(), /^hello from (swift|leisurely)\n$/)
  }
  assert.equal(await post('/stop/steady'), 'steady is stopped already\n')
  assert.equal(await post('/start/steady'), 'steady starts again\n')
  await heddle.output(/\d steady is tried again\n/)
  while ((await ask()) !== 'hello from steady\n');

  assert.equal(await post('/stop/nobody'), 'there is no nobody; there are swift, steady, leisurely\n')
  assert.equal((await fetch(`${url}/stop/swift`)).status, 405)
  await post('/stop/swift')
  await post('/stop/steady')
  assert.equal(await post('/stop/leisurely'), 'leisurely is the last one that runs\n')
})

test('a page of the web cannot stop a backend of the demo, and no path breaks one', async (t) => {
  const heddle = start(t, ['demo', '--listen', '127.0.0.1:0'])
  const url = await heddle.url()
  for (const origin of ['http://example.com', 'null', url]) {
    const response = await fetch(`${url}/stop/steady`, { method: 'POST', headers: { origin } })
    assert.equal(response.status, 403)
  }
  for (let i = 0; i < 6; i += 1) assert.equal((await fetch(`${url}//`)).status, 404)
  assert.doesNotMatch(heddle.stdout(), /steady has been stopped|is ejected/)
})

test('on a terminal the demo has a table that follows the backends', { skip: withoutTerminal }, async (t) => {
  const demo = startOnTerminal(t, 'demo --listen 127.0.0.1:0', 90, { NO_COLOR: '', FORCE_COLOR: '' })
  const [, url = ''] = await demo.shows(/listening on (http:\/\/127\.0\.0\.1:\d+)/)
  await demo.shows(/backend +status +pending +requests +failures +latency\n/)
  // The cursor is hidden while the table is drawn.
  assert.ok(demo.text().includes(`${ESC}[?25l`))
  for (let i = 0; i < 9; i++) await (await fetch(url)).text()
  await demo.shows(/swift +available +0 +[1-9]\d* +0 +\d+ ms\n/)

  await fetch(`${url}/stop/swift`, { method: 'POST' })
  await demo.shows(/swift has been stopped/)
  while (!demo.text().includes('swift is ejected')) await (await fetch(url)).text()
  await demo.shows(/swift +ejected/)
  // Green for available, red for ejected.
  assert.ok(demo.text().includes(`${ESC}[32mavailable`) && demo.text().includes(`${ESC}[31mejected`))
  await fetch(`${url}/start/swift`, { method: 'POST' })
  const from = demo.plain().length
  await demo.shows(/swift is tried again/, from)
  await demo.shows(/swift +available/, from)

  // It is redrawn in place: up over its five lines, and to the end of what is below.
  assert.match(demo.text(), new RegExp(`${ESC}\\[\\?2026h${ESC}\\[5F[^]*?${ESC}\\[J${ESC}\\[\\?2026l`))
  demo.type('\x03')
  await demo.shows(/Shutting down/)
  await once(demo.child, 'close')
  assert.equal(demo.child.exitCode, 0)
  assert.ok(demo.text().lastIndexOf(`${ESC}[?25h`) > demo.text().lastIndexOf(`${ESC}[?25l`))
})

test('the table respects NO_COLOR, a narrow terminal, and a new size', { skip: withoutTerminal }, async (t) => {
  const demo = startOnTerminal(t, 'demo --listen 127.0.0.1:0', 36, { NO_COLOR: '1' })
  await demo.shows(/leisurely/)
  await demo.shows(/backend +status +pending\n/)
  await demo.shows(/leisurely +available +0\n/)
  assert.doesNotMatch(demo.text(), new RegExp(`${ESC}\\[\\d+m`))
  const from = demo.plain().length
  demo.resize(90)
  await demo.shows(/backend +status +pending +requests +failures +latency/, from)
  const narrower = demo.plain().length
  demo.resize(24)
  await demo.shows(/backend +status *\n/, narrower)
  for (const line of demo.plain().slice(narrower).split('\n')) assert.ok(line.length <= 24, line)
})

test('with an access log, or a terminal that is dumb, the demo has no table', { skip: withoutTerminal }, async (t) => {
  for (const [args, env] of [
    ['demo --listen 127.0.0.1:0 --access-log common', {}],
    ['demo --listen 127.0.0.1:0', { TERM: 'dumb' }],
  ] as const) {
    const demo = startOnTerminal(t, args, 90, env)
    const [, url = ''] = await demo.shows(/listening on (http:\/\/127\.0\.0\.1:\d+)/)
    await demo.shows(/Press Ctrl-C/)
    await (await fetch(url)).text()
    await demo.shows(/ 200 /)
    assert.doesNotMatch(demo.text(), /status +pending/)
  }
})

test('if its port is taken, the demo says so and listens on another', async (t) => {
  const server = net.createServer()
  t.after(() => server.close())
  server.listen(8080, '127.0.0.1')
  // Somebody else may have it already: just as good.
  await once(server, 'listening').catch(() => {})
  const heddle = start(t, ['demo'])
  const [, instead] = await heddle.output(
    /Port 8080 is taken, so the demo listens on http:\/\/127\.0\.0\.1:(\d+) instead\./,
  )
  const url = await heddle.url()
  assert.equal(url, `http://127.0.0.1:${instead}`)
  assert.equal((await fetch(url)).status, 200)
})

test('with --backend or --config the demo proxies to those', async (t) => {
  const server = http.createServer((_, res) => res.end('mine')).listen(0, '127.0.0.1')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  const backend = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const cwd = directory(t, { 'x.json': JSON.stringify({ target: backend }) })
  for (const flags of [
    ['--backend', backend],
    ['--config', 'x.json'],
  ]) {
    const heddle = start(t, ['demo', ...flags, '--listen', '127.0.0.1:0'], cwd)
    assert.equal(await (await fetch(await heddle.url())).text(), 'mine')
  }
})

test('the demo ignores the configuration file and reports wrong flags', async (t) => {
  const cwd = directory(t, { 'heddle.config.json': '{' })
  const { code, stderr } = await start(t, ['demo', '--balancer', 'best', '--threads', 'none'], cwd).exit()
  assert.equal(code, 2)
  assert.match(stderr, /^heddle: 2 options are wrong:\n/)
})
