import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createProxyServer } from '../../src/compat/http-proxy/index.ts'
import { createProxyMiddleware } from '../../src/compat/middleware/index.ts'
import { createProxy, type Interceptor, type ProxyOptions, workerThreads } from '../../src/index.ts'
import {
  cutMidBody,
  deadPort,
  manualClock,
  mockBackend,
  neverAnswer,
  recordingLogger,
  resetOnRequest,
} from '../../src/testing/index.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { listening, queue, runProxy } from '../support/running-proxy.ts'

/** A line of the default logger, which writes JSON if standard error is not a terminal. */
interface Line {
  readonly level: string
  readonly msg: string
  readonly hint?: string
  readonly skipped?: number
}

const GET = 'GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
const UPGRADE = 'GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'

const throws: Interceptor = {
  name: 'mine',
  wrap: () => () => {
    throw new Error('boom')
  },
}

/** Failures in a process that says nothing of a logger, unless named so, and the lines that standard error gets. */
const FAILURES: Readonly<Record<string, { run(dead: string): Promise<unknown>; lines: readonly RegExp[] }>> = {
  refused: {
    run: (dead) => ask({ target: dead }),
    lines: [/^warn cannot connect to backend http:\/\/127\.0\.0\.1:\d+: connect ECONNREFUSED .*\(check that .* runs/],
  },
  reset: {
    run: () => askOf(resetOnRequest),
    lines: [
      /^warn backend http:\S+ closed the connection before .*\(see the backend's log; a backend with TLS needs https:\/\/\)$/,
    ],
  },
  'cut in the middle': {
    run: () => askOf(cutMidBody),
    lines: [/^warn backend http:\S+ closed the connection in the middle .*\(see the backend's log\)$/],
  },
  'no head in time': {
    run: () => askOf(neverAnswer, { timeouts: { headers: 50 }, retry: false }),
    lines: [/^warn backend http:\S+ did not respond within 50 ms \(.*raise timeouts\.headers\)$/],
  },
  TLS: {
    run: (dead) => ask({ target: dead.replace('http:', 'https:'), retry: false }),
    lines: [/^warn cannot connect to backend https:/],
  },
  'no backend': {
    run: () => ask({ backends: [] }),
    lines: [/^warn group default has no backends: add some/],
  },
  'an interceptor that throws': {
    run: (dead) => ask({ target: dead, routes: [{ interceptors: [throws] }] }),
    lines: [/^error interceptor mine threw: boom \(fix the function/],
  },
  'an observer that throws': {
    run: () =>
      askOf((_request, reply) => reply.send({}), {
        observers: [
          {
            name: 'mine',
            onFinish() {
              throw new Error('boom')
            },
          },
        ],
      }),
    lines: [/^error observer mine threw in onFinish: boom/],
  },
  'an upgrade': {
    run: (dead) => ask({ target: dead }, UPGRADE),
    lines: [/^warn cannot connect to backend/],
  },
  'a thread': {
    run: (dead) => ask({ target: dead, executor: workerThreads({ threads: 1 }) }),
    lines: [/^warn cannot connect to backend/],
  },
  'an ejection': {
    run: async (dead) => {
      await using good = await mockBackend()
      const healthCheck = { consecutiveFailures: 1 }
      await ask({ backends: [dead, good.url], balancer: 'first-available', healthCheck, retry: false })
    },
    lines: [/^warn ejected backend http:\S+ for \d+ ms: 1 failure/, /^warn cannot connect/],
  },
  'no route': { run: (dead) => ask({ target: dead, routes: [{ path: '/api' }] }), lines: [] },
  'a malformed request': { run: (dead) => ask({ target: dead }, 'NONSENSE\r\n\r\n'), lines: [] },
  'a client that goes away': { run: () => leave(), lines: [] },
  'a client that goes away from a thread': {
    run: () => leave({ executor: workerThreads({ threads: 1 }) }),
    lines: [],
  },
  "logger: 'silent'": { run: (dead) => ask({ target: dead, logger: 'silent' }), lines: [] },
  "logger: 'silent' with a thread": {
    run: (dead) => ask({ target: dead, logger: 'silent', executor: workerThreads({ threads: 1 }) }),
    lines: [],
  },
  'heddle/http-proxy': {
    run: (target) => askServer(createProxyServer({ target }).web),
    lines: [/^error a request failed, and nobody listens to 'error': connect ECONNREFUSED/],
  },
  'heddle/http-proxy with a listener': {
    run: (target) => askServer(createProxyServer({ target }).on('error', (_error, _req, res) => void res.end()).web),
    lines: [],
  },
  'heddle/middleware': {
    run: (target) => askServer(createProxyMiddleware({ target })),
    lines: [/^error GET \/x failed, and there is neither on\.error nor a logger: connect ECONNREFUSED/],
  },
  'heddle/middleware with on.error': {
    run: (target) => askServer(createProxyMiddleware({ target, on: { error: (_error, _req, res) => void res.end() } })),
    lines: [],
  },
}

/** One request to a proxy. */
async function ask(options: ProxyOptions, request = GET): Promise<void> {
  await using proxy = createProxy({ drainTimeoutMs: 1000, ...options })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  await converse(port, request)
}

async function askOf(handler: Parameters<typeof mockBackend>[0], options: ProxyOptions = {}): Promise<void> {
  await using backend = await mockBackend(handler)
  await ask({ target: backend.url, ...options })
}

async function askServer(listener: http.RequestListener): Promise<void> {
  const server = http.createServer(listener)
  await converse(await listening(server), GET)
  server.close()
}

/** A client that resets its connection while the backend works. */
async function leave(options: ProxyOptions = {}): Promise<void> {
  const asked = queue<void>()
  await using backend = await mockBackend(() => asked.push())
  await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 1000, ...options })
  const finished = new Promise((resolve) => proxy.on('finish', resolve))
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  const client = rawClient(port)
  client.write(GET)
  await asked.next()
  client.socket.resetAndDestroy()
  await finished
}

if (process.send !== undefined && process.argv[2] === 'child') {
  // What the test runs as: its standard error is a pipe of the parent's.
  const { url } = await deadPort()
  for (const [name, { run }] of Object.entries(FAILURES)) {
    process.stderr.write(`## ${name}\n`)
    await run(url)
  }
  process.disconnect()
} else {
  test('without a logger, standard error has one line for each failure that a user must know of', async (t) => {
    const child = fork(fileURLToPath(import.meta.url), ['child'], {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      execArgv: [],
    })
    let text = ''
    child.stderr?.setEncoding('utf8').on('data', (more: string) => {
      text += more
    })
    await once(child, 'close')
    const told = new Map<string, string[]>()
    for (const section of text.split(/^## /m).slice(1)) {
      const [name = '', ...lines] = section.trimEnd().split('\n')
      told.set(name, lines.map(shown))
    }
    for (const [name, { lines }] of Object.entries(FAILURES)) {
      await t.test(name, () => {
        const found = told.get(name) ?? []
        assert.equal(found.length, lines.length, found.join('\n'))
        for (const [i, pattern] of lines.entries()) assert.match(found[i] ?? '', pattern)
      })
    }
  })

  test('an outage is ten lines a second of a kind; the next one says how many were left out', async () => {
    const clock = manualClock()
    const logger = recordingLogger()
    const options = { retry: false, healthCheck: false } as const
    const groups = Object.fromEntries(
      await Promise.all(['a', 'b'].map(async (name) => [name, { target: (await deadPort()).url, ...options }])),
    )
    const routes = ['a', 'b'].map((group) => ({ path: `/${group}`, group }))
    await using front = await runProxy({ groups, routes, logger, clock })
    const fail = (path: string) => converse(front.port, GET.replace('/x', path))
    for (let i = 0; i < 25; i++) await fail('/a')
    const warnings = () => logger.entries.filter(({ level }) => level === 'warn')
    const rest = logger.entries.filter(({ level, fields }) => level === 'debug' && fields.code === 'ERR_PROXY_CONNECT')
    assert.deepEqual([warnings().length, rest.length], [10, 15])
    // The outage of one backend hides nothing of another.
    await fail('/b')
    assert.deepEqual([warnings().length, warnings().at(-1)?.fields.skipped], [11, 15])
    clock.advance(1000)
    await fail('/a')
    assert.deepEqual([warnings().length, warnings().at(-1)?.fields.skipped], [12, undefined])
    assert.equal(front.errors.length, 27)
  })
}

function shown(line: string): string {
  if (!line.startsWith('{')) return line
  const { level, msg, hint, skipped } = JSON.parse(line) as Line
  return `${level} ${msg}${hint === undefined ? '' : ` (${hint})`}${skipped === undefined ? '' : ` +${skipped}`}`
}
