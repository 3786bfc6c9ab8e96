import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { directory, start } from './command.ts'

test('the demo starts, suggests commands, logs requests and ends gracefully', async (t) => {
  const heddle = start(t, ['demo', '--listen', '127.0.0.1:0'])
  const url = await heddle.url()
  await heddle.output(/Press Ctrl-C to stop/)
  assert.equal(heddle.stdout().match(/\n {2}curl /g)?.length, 3)

  const seen = new Set<string>()
  for (let i = 0; i < 60 && seen.size < 3; i += 1) {
    const response = await fetch(url)
    assert.match(await response.text(), /<h1>Hello from \w+<\/h1>/)
    seen.add(response.headers.get('x-demo-backend') ?? '')
  }
  assert.deepEqual([...seen].sort(), ['leisurely', 'steady', 'swift'])

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

test('if its port is taken, the demo says so and listens on another', async (t) => {
  const server = net.createServer()
  t.after(() => server.close())
  server.listen(8080, '127.0.0.1')
  // Somebody else may have it already: just as good.
  await Promise.race([once(server, 'listening'), once(server, 'error').catch(() => {})])
  const heddle = start(t, ['demo'])
  const [, instead] = await heddle.output(/Port 8080 is taken, so the demo listens on 127\.0\.0\.1:(\d+) instead\./)
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
