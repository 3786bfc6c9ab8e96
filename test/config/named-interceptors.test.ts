import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { test } from 'node:test'
import type { InterceptorName } from '../../src/config/options.ts'
import { createProxy, type OptionsError, type ProxyOptions, workerThreads } from '../../src/index.ts'
import { deadPort, type MockBackend, mockBackend } from '../../src/testing/index.ts'
import { directory, run, start } from '../cli/command.ts'
import { askLast, type RawClient, rawClient } from '../support/raw-client.ts'
import { FRONTS, runInServer } from '../support/running-proxy.ts'
import { clientsOfThreads, LOOPBACK, without } from '../threads/threaded.ts'

const PAGE = { name: 'error-page', html: '<h1>{{status}}</h1>' } as const

function faultsOf(interceptors: unknown): OptionsError['faults'] {
  try {
    createProxy({ target: 'http://a', routes: [{ interceptors }] } as ProxyOptions)
  } catch (error) {
    return (error as OptionsError).faults
  }
  return []
}

/** How each built-in shows that it works, on a route of its name. */
const USES: Readonly<Record<InterceptorName, { options: object; asked?: string[]; answer: RegExp }>> = {
  addresses: { options: { deny: ['loopback'] }, answer: /^HTTP\/1\.1 403 / },
  compress: {
    options: { encodings: ['gzip'], minBytes: 1 },
    asked: ['Accept-Encoding: gzip'],
    answer: /\r\nContent-Encoding: gzip\r\n(?!.*GET \/compress)/s,
  },
  cors: {
    options: { origins: ['https://app.example'] },
    asked: ['Origin: https://app.example'],
    answer: /\r\nAccess-Control-Allow-Origin: https:\/\/app\.example\r\n/i,
  },
  'error-page': { options: { text: 'sorry: {{status}}', statuses: [503] }, answer: /^HTTP\/1\.1 503 .*sorry: 503$/s },
  'follow-redirects': { options: { max: 1 }, answer: /^HTTP\/1\.1 200 .*GET \/follow-redirects\/there$/s },
  'forward-auth': {
    options: { requestHeaders: ['Remote-User'] },
    asked: ['Remote-User: eve'],
    answer: /^HTTP\/1\.1 200 .*GET \/forward-auth of alice$/s,
  },
  'rewrite-cookies': { options: { path: '/app' }, answer: /\r\nSet-Cookie: a=1; Path=\/app\r\n/ },
  'rewrite-location': { options: { prefix: '/app' }, answer: /\r\nLocation: \/app\/there\r\n/ },
}
const NAMES = Object.keys(USES) as InterceptorName[]

/** Gives each built-in something to do. Also the service that `forward-auth` asks. */
function busyBackend(): Promise<MockBackend> {
  return mockBackend((request, reply) => {
    switch (request.path) {
      case '/verify':
        return reply.send({ headers: { 'Remote-User': 'alice' } })
      case '/error-page':
        return reply.send({ status: 503, body: 'secret' })
      case '/follow-redirects':
        return reply.send({ status: 302, headers: { Location: '/follow-redirects/there' } })
      case '/rewrite-cookies':
        return reply.send({ headers: { 'Set-Cookie': 'a=1; Path=/' } })
      case '/rewrite-location':
        return reply.send({ status: 201, headers: { Location: '/there' } })
      default: {
        const user = request.header('remote-user')
        const body = `GET ${request.path}${user === undefined ? '' : ` of ${user}`}`
        reply.send({ headers: { 'Content-Type': 'text/plain' }, body })
      }
    }
  })
}

/** A route for each built-in, in words that data can say. */
function dataFor({ url }: MockBackend): ProxyOptions {
  const routes = NAMES.map((name) => {
    const own = name === 'forward-auth' ? { url: `${url}/verify` } : {}
    return { path: `/${name}`, interceptors: [{ name, ...USES[name].options, ...own }] }
  })
  return { target: url, routes: [...routes, { path: '/' }] } as ProxyOptions
}

async function check(name: InterceptorName, client: RawClient): Promise<void> {
  const { asked, answer } = USES[name]
  assert.match(await askLast(client, `/${name}`, asked), answer)
}

for (const { name, run: runFront } of FRONTS) {
  test(`${name}: each built-in works by its name`, async () => {
    await using backend = await busyBackend()
    await using front = await runFront(dataFor(backend))
    for (const each of NAMES) await check(each, rawClient(front.port))
  })

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
  assert.equal(faultsOf([undefined])[0]?.message, 'is undefined')
  assert.equal(faultsOf('error-page')[0]?.path, 'routes[0].interceptors')
  assert.match(faultsOf([{ name: 'error-page', html: 7 }])[0]?.message ?? '', /html is 7/)
})

test('all mistakes of a named interceptor are reported at once', () => {
  const messages = (interceptor: object) => faultsOf([interceptor]).map(({ message }) => message)
  const [status, html, unknown, ...more] = messages({
    name: 'error-page',
    htm: '',
    statuses: [1],
    html: 7,
    jsn: {},
  }).sort()
  assert.match(status ?? '', /html is 7/)
  assert.match(html ?? '', /statuses/)
  assert.match(unknown ?? '', /there is no option htm, jsn/)
  assert.deepEqual(more, [])
  // An option that is required is not reported as missing because its value is wrong.
  assert.equal(messages({ name: 'forward-auth', url: 7, cacheMs: -1, requestHeaders: ['a b'] }).length, 3)
  assert.equal(messages({ name: 'cors' }).length, 1)
})

test('every example of a named interceptor is right', () => {
  for (const name of NAMES) {
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

test('each built-in works by its name in each of two threads', { skip: await without() }, async () => {
  await using backend = await busyBackend()
  await using proxy = createProxy({
    ...dataFor(backend),
    executor: workerThreads({ threads: 2 }),
    drainTimeoutMs: 100,
  })
  const { port } = await proxy.listen(LOOPBACK)
  for (const each of NAMES) {
    for (const client of (await clientsOfThreads(proxy, port, 2)).values()) await check(each, client)
  }
})

test('each built-in works by its name in the file of the command', async (t) => {
  await using backend = await busyBackend()
  const file = JSON.stringify({ ...dataFor(backend), listen: '127.0.0.1:0' })
  const url = await start(t, [], directory(t, { 'heddle.config.json': file })).url()
  for (const each of NAMES) await check(each, rawClient(Number(new URL(url).port)))
})

test('the command tells mistakes in its file', async (t) => {
  const file = JSON.stringify({ target: 'http://a', routes: [{ interceptors: [{ name: 'cors' }] }] })
  const { code, stderr } = await run(t, ['check', 'wrong.json'], directory(t, { 'wrong.json': file }))
  assert.notEqual(code, 0)
  assert.match(stderr, /routes\[0\]\.interceptors\[0\] is wrong: cors: origins/)
})
