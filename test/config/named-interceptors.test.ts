import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { createProxy, type OptionsError, type ProxyOptions, workerThreads } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/index.ts'
import { directory, run, start } from '../cli/command.ts'
import { FRONTS, runInServer } from '../support/running-proxy.ts'
import { without } from '../threads/threaded.ts'

const PAGE = { name: 'error-page', html: '<h1>{{status}}</h1>' } as const

function faultsOf(interceptors: unknown): OptionsError['faults'] {
  try {
    createProxy({ target: 'http://a', routes: [{ interceptors }] } as ProxyOptions)
  } catch (error) {
    return (error as OptionsError).faults
  }
  return []
}

for (const { name, run: runFront } of FRONTS) {
  test(`${name}: built-in interceptors by name, with and without options`, async () => {
    const dead = await deadPort()
    await using front = await runFront({
      target: dead.url,
      retry: false,
      routes: [
        { path: '/', interceptors: [PAGE] },
        { path: '/private', interceptors: [{ name: 'addresses', deny: ['loopback'] }] },
        { path: '/plain', interceptors: ['error-page'] },
      ],
    })
    const html = { headers: { accept: 'text/html' } }
    assert.equal(await (await fetch(front.url, html)).text(), '<h1>502</h1>')
    assert.equal((await fetch(`${front.url}/private`)).status, 403)
    assert.match(await (await fetch(`${front.url}/plain`, html)).text(), /^502 Bad Gateway/)
  })
}

test('a call may name interceptors, too', async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({}, (proxy) =>
    createServer((req, res) =>
      proxy.web(req, res, { target: backend.url, interceptors: [{ name: 'addresses', deny: ['loopback'] }] }),
    ),
  )
  assert.equal((await fetch(front.url)).status, 403)
})

test('mistakes are told with their path', () => {
  const [wrong] = faultsOf([PAGE, { name: 'addresses', allow: ['nowhere'] }])
  assert.equal(wrong?.path, 'routes[0].interceptors[1]')
  assert.match(wrong.message, /^is wrong: addresses: allow.*nowhere/)
  assert.equal(wrong.allowed, 'the options of addresses() in docs/interceptors.md')
  const [cookies] = faultsOf([{ name: 'rewrite-cookies', paths: '/' }])
  assert.equal(cookies?.allowed, 'the options of rewriteCookies() in docs/interceptors.md')
  assert.deepEqual(cookies.example, { name: 'rewrite-cookies', path: '/app' })
  const [unknown] = faultsOf([{ name: 'adresses' }])
  assert.equal(unknown?.path, 'routes[0].interceptors[0].name')
  assert.equal(unknown.example, 'addresses')
  assert.match(unknown.allowed, /'error-page', .* or an Interceptor with wrap\(\)$/)
  assert.equal(faultsOf([7])[0]?.message, 'is 7')
  assert.equal(faultsOf('error-page')[0]?.path, 'routes[0].interceptors')
  assert.match(faultsOf([{ name: 'error-page', html: 7 }])[0]?.message ?? '', /html is 7/)
})

test('every example of a named interceptor is right', () => {
  for (const name of ['addresses', 'compress', 'cors', 'error-page', 'follow-redirects', 'forward-auth'] as const) {
    const [fault] = faultsOf([{ name, wrong: 1 }])
    assert.deepEqual(faultsOf([fault?.example]), [], name)
  }
})

test('an update with the same named interceptors changes no route', async () => {
  const options = (): ProxyOptions => ({ target: 'http://a', routes: [{ interceptors: [{ ...PAGE }] }] })
  await using proxy = createProxy(options())
  assert.deepEqual(proxy.update(options()).plan.routes.changed, [])
  const other = proxy.update({ target: 'http://a', routes: [{ interceptors: ['error-page'] }] })
  assert.deepEqual(other.plan.routes.changed, ['/'])
})

test('threads get them as data', { skip: await without() }, async () => {
  const dead = await deadPort()
  await using proxy = createProxy({
    target: dead.url,
    retry: false,
    routes: [{ interceptors: [PAGE] }],
    executor: workerThreads({ threads: 2 }),
    drainTimeoutMs: 100,
  })
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  const response = await fetch(url, { headers: { accept: 'text/html', connection: 'close' } })
  assert.equal(await response.text(), '<h1>502</h1>')
})

test('the command reads them from its file', async (t) => {
  const dead = await deadPort()
  const cwd = directory(t, {})
  const file = (interceptors: unknown[]) =>
    JSON.stringify({ target: dead.url, listen: '127.0.0.1:0', retry: false, routes: [{ interceptors }] })
  writeFileSync(join(cwd, 'heddle.config.json'), file([PAGE]))
  const response = await fetch(await start(t, [], cwd).url(), { headers: { accept: 'text/html' } })
  assert.equal(await response.text(), '<h1>502</h1>')
  writeFileSync(join(cwd, 'wrong.json'), file([{ name: 'cors' }]))
  const { code, stderr } = await run(t, ['check', 'wrong.json'], cwd)
  assert.notEqual(code, 0)
  assert.match(stderr, /routes\[0\]\.interceptors\[0\] is wrong: cors: origins/)
})
