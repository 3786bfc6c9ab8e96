import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import http, { type IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { firstAvailable } from '../../src/balancers/index.ts'
import { type BodySource, type ExchangeView, type Interceptor, type ProxyOptions, wrapSink } from '../../src/index.ts'
import { deadPort } from '../../src/testing/index.ts'
import { APPLICATIONS } from '../support/applications.ts'
import { interceptor } from '../support/interceptors.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, listening, type RunningProxy, runInServer } from '../support/running-proxy.ts'
import { switching } from '../support/upgrade-backends.ts'

/** More than the buffers of a connection hold, so that both directions have to wait. */
const LARGE = Buffer.alloc(12_000_000, 'a')

/** Notes in which context the hooks of requests run. The context of a request is its path. */
class Notes {
  readonly context = new AsyncLocalStorage<string>()
  readonly wrong = new Set<string>()
  readonly right = new Set<string>()
  readonly #gates = new Map<string, ReturnType<typeof gate<void>>>()

  /** The gate of one direction of a request: it is open once the sender has been told to wait. */
  blocked(direction: 'up' | 'down', { target }: Pick<ExchangeView, 'target'>): ReturnType<typeof gate<void>> {
    const key = direction + target
    const found = this.#gates.get(key) ?? gate()
    this.#gates.set(key, found)
    return found
  }

  note(what: string, { target }: Pick<ExchangeView, 'target'>): void {
    const store = this.context.getStore()
    if (store === target) this.right.add(what)
    else this.wrong.add(`${what} of ${target} in ${store}`)
  }

  /** A hook that is not told of which request: only another context than that of a request is wrong. */
  noteAny(what: string): void {
    if (this.context.getStore() === undefined) this.wrong.add(what)
    else this.right.add(what)
  }

  /** These hooks ran, and none ran elsewhere. */
  check(expected: readonly string[]): void {
    assert.deepEqual(Array.from(this.wrong), [])
    assert.deepEqual(
      expected.filter((what) => !this.right.has(what)),
      [],
    )
  }
}

function looking(notes: Notes): Interceptor {
  return interceptor(async (next, exchange, request, body, sink) => {
    const note = (what: string): void => notes.note(what, exchange)
    note('handler')
    await turn()
    note('handler, later')
    exchange.signal.addEventListener('abort', () => note('signal'))
    const noted = wrapSink(sink, {
      onInformational(head) {
        note('sink.onInformational')
        sink.onInformational(head)
      },
      onHead(head, flow) {
        note('sink.onHead')
        const resume = (): void => {
          note('flow.resume')
          flow.resume()
        }
        sink.onHead(head, { resume, retain: () => flow.retain() })
      },
      onData(chunk) {
        note('sink.onData')
        const goOn = sink.onData(chunk)
        if (!goOn) notes.blocked('down', exchange).open()
        return goOn
      },
      onFlush() {
        note('sink.onFlush')
        sink.onFlush()
      },
      onEnd(trailers) {
        note('sink.onEnd')
        sink.onEnd(trailers)
      },
      onUpgrade(head, stream, rest) {
        note('sink.onUpgrade')
        sink.onUpgrade(head, stream, rest)
      },
      onError(error) {
        note('sink.onError')
        sink.onError(error)
      },
    })
    const onBlocked = (): void => notes.blocked('up', exchange).open()
    next(exchange, request, body && noting(body, note, onBlocked), noted)
  })
}

function noting(body: BodySource, note: (what: string) => void, onBlocked: () => void): BodySource {
  return {
    bytes: body.bytes,
    expectsContinue: body.expectsContinue,
    get isReplayable() {
      return body.isReplayable
    },
    start(reader) {
      note('body.start')
      body.start({
        onBody(chunk) {
          note('reader.onBody')
          const goOn = reader.onBody(chunk)
          if (!goOn) onBlocked()
          return goOn
        },
        onBodyEnd(trailers) {
          note('reader.onBodyEnd')
          reader.onBodyEnd(trailers)
        },
      })
    },
    resume() {
      note('body.resume')
      body.resume()
    },
    stop() {
      note('body.stop')
      body.stop()
    },
  }
}

function optionsOf(notes: Notes, backends: readonly string[]): ProxyOptions {
  const balancer = firstAvailable()
  return {
    backends: [...backends],
    drainTimeoutMs: 100,
    limits: { replayBytes: 0 },
    healthCheck: { name: 'looks', observe: () => notes.noteAny('healthCheck.observe') },
    retry: {
      name: 'looks',
      next(exchange) {
        notes.note('retry.next', exchange)
        return exchange.attempts < 2 ? 1 : -1
      },
    },
    affinity: {
      name: 'looks',
      onLost: 'rebalance',
      find(exchange) {
        notes.note('affinity.find', exchange)
        return null
      },
      bind: (_backend, _response, exchange) => notes.note('affinity.bind', exchange),
    },
    balancer: {
      name: 'looks',
      pick(candidates, exchange) {
        notes.note('balancer.pick', exchange)
        return balancer.pick(candidates, exchange)
      },
      onStart: (_backend, exchange) => notes.note('balancer.onStart', exchange),
      onEnd: () => notes.noteAny('balancer.onEnd'),
    },
    observers: [
      {
        name: 'looks',
        onRequest: (exchange) => notes.note('observer.onRequest', exchange),
        onAttempt: ({ exchange }) => notes.note('observer.onAttempt', exchange),
        onAttemptEnd: ({ exchange }) => notes.note('observer.onAttemptEnd', exchange),
        onRetry: (exchange) => notes.note('observer.onRetry', exchange),
        onResponse: (exchange) => notes.note('observer.onResponse', exchange),
        onUpgrade: (exchange) => notes.note('observer.onUpgrade', exchange),
        onError: (_error, exchange) => exchange !== null && notes.note('observer.onError', exchange),
        onFinish: (exchange) => notes.note('observer.onFinish', exchange),
      },
    ],
    routes: [
      {
        interceptors: [looking(notes)],
        transforms: [
          {
            name: 'looks',
            request: (_request, exchange) => notes.note('transform.request', exchange),
            response: (_response, exchange) => notes.note('transform.response', exchange),
          },
        ],
      },
    ],
  }
}

/** The hooks that run for each request. */
const ALWAYS = [
  ...['observer.onRequest', 'transform.request', 'handler', 'handler, later', 'affinity.find', 'balancer.pick'],
  ...[
    'balancer.onStart',
    'observer.onAttempt',
    'observer.onAttemptEnd',
    'balancer.onEnd',
    'observer.onFinish',
    'signal',
  ],
]
const RESPONSE = [
  ...['sink.onHead', 'sink.onData', 'sink.onEnd', 'observer.onResponse', 'affinity.bind'],
  ...['transform.response', 'healthCheck.observe'],
]
const TWO_WAYS = [
  ...['sink.onInformational', 'sink.onFlush', 'flow.resume', 'body.start', 'body.resume', 'reader.onBody'],
  'reader.onBodyEnd',
]
const FAILURE = ['observer.onError', 'observer.onRetry', 'retry.next', 'sink.onError', 'healthCheck.observe']

/** A backend that reads bodies only once their sender has had to wait, and that upgrades. */
async function backendOf(notes: Notes): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = http.createServer(async (req, res) => {
    res.writeProcessing()
    if (req.method === 'GET') return void res.end('ok')
    await notes.blocked('up', { target: req.url ?? '' }).promise
    req.resume().on('end', () => res.end(LARGE))
  })
  server.on('upgrade', (req, socket) => {
    if (req.url?.startsWith('/refused')) return void socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')
    socket.write(switching('foo'))
    socket.on('data', (bytes) => socket.end(bytes))
  })
  const port = await listening(server)
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Sends a large body, and takes a large response once its sender has had to wait. */
function exchangeLarge(notes: Notes, port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const req = http.request({ host: '127.0.0.1', port, path, method: 'POST', agent: false }, (res) => {
      let bytes = 0
      res.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      res.on('end', () => resolve(bytes)).on('error', reject)
      res.pause()
      void notes.blocked('down', { target: path }).promise.then(() => res.resume())
    })
    req.on('error', reject).end(LARGE)
  })
}

async function failed(front: RunningProxy, text: string): Promise<string> {
  const client = rawClient(front.port)
  client.write(text)
  await client.ended
  return client.text
}

for (const { name, ask, calls, isUpgrade, passesErrors, run } of APPLICATIONS) {
  if (!calls) continue
  const codeOf = (notes: Notes) => ({
    around: ({ url = '' }: IncomingMessage, call: () => void) => notes.context.run(url, call),
  })

  test(`${name}: hooks of requests run in the async context of their request`, async () => {
    const notes = new Notes()
    await using backend = await backendOf(notes)
    await using front = await run(optionsOf(notes, [backend.url]), codeOf(notes))
    for (const path of ['/1', '/2', '/refused']) {
      const client = rawClient(front.port)
      client.write(ask([], path))
      await client.until(isUpgrade && path !== '/refused' ? '101' : path === '/refused' && isUpgrade ? 'no' : 'ok')
      if (isUpgrade && path !== '/refused') client.write('bytes')
      await client.ended
      assert.equal((await front.nextRecord()).target, path)
    }
    const upgraded = isUpgrade ? ['sink.onUpgrade', 'observer.onUpgrade'] : ['sink.onInformational']
    notes.check([...ALWAYS, ...RESPONSE, ...upgraded])
  })

  test(`${name}: hooks of failures and retries do, too`, async () => {
    const notes = new Notes()
    const dead = [await deadPort(), await deadPort()].map(({ url }) => url)
    const onError = (_error: unknown, req: IncomingMessage, res: http.ServerResponse): void => {
      // Koa throws failures to the middleware before it.
      if (name !== 'Koa') notes.note('onError', { target: req.url ?? '' })
      res.writeHead(418).end()
    }
    await using front = await run(optionsOf(notes, dead), { ...codeOf(notes), ...(passesErrors && { onError }) })
    for (const path of ['/1', '/2']) {
      assert.match(await failed(front, ask([], path)), passesErrors ? /^HTTP\/1\.1 418 / : /^HTTP\/1\.1 502 /)
      assert.equal((await front.nextRecord()).attempts, 2)
    }
    notes.check([...ALWAYS, ...FAILURE, ...(passesErrors && name !== 'Koa' ? ['onError'] : [])])
  })

  if (isUpgrade || /ignored/.test(name)) continue

  test(`${name}: readers of bodies, and flows that wait, do, too`, async () => {
    const notes = new Notes()
    await using backend = await backendOf(notes)
    await using front = await run(optionsOf(notes, [backend.url]), codeOf(notes))
    const both = ['/1', '/2'].map((path) => exchangeLarge(notes, front.port, path))
    assert.deepEqual(await Promise.all(both), [LARGE.length, LARGE.length])
    for (let i = 0; i < 2; i++) await front.nextRecord()
    notes.check([...ALWAYS, ...RESPONSE, ...TWO_WAYS])
  })
}

test('what a listener before those of proxy.attach() enters is the context of the request', async () => {
  const notes = new Notes()
  await using backend = await backendOf(notes)
  await using front = await runInServer(optionsOf(notes, [backend.url]), (proxy) => {
    const server = http.createServer()
    proxy.attach(server)
    for (const event of ['request', 'upgrade'])
      server.prependListener(event, ({ url = '' }: IncomingMessage) => notes.context.enterWith(url))
    return server
  })
  for (const { ask, calls, name } of APPLICATIONS) {
    if (calls) continue
    const client = rawClient(front.port)
    client.write(ask([], `/${encodeURIComponent(name)}`))
    await client.until('\r\n\r\n')
    client.write('bytes')
    await client.ended
    await front.nextRecord()
  }
  notes.check([...ALWAYS, ...RESPONSE, 'sink.onUpgrade', 'observer.onUpgrade', 'sink.onInformational'])
})
