import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { directory, start } from '../cli/command.ts'
import { entryOf, startThreads, until, watchWorkers, without } from '../executors/threaded.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'

const skipThreads = await without()

/** Serves `/stream/...` without end, WebSockets, and the rest at once. */
async function loadedBackend(t: TestContext): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = []
  const streams = new Set<ServerResponse>()
  const server = http.createServer((req, res) => {
    seen.push(req.url ?? '')
    if (req.url?.startsWith('/stream') !== true) return void res.end('ok')
    streams.add(res)
    res.write('data: first\n\n')
    const timer = setInterval(() => res.write('data: more\n\n'), 5)
    res.on('close', () => clearInterval(timer))
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)).on('error', () => {}))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const one of sockets.clients) one.terminate()
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

interface Load {
  /** Paths of requests that were answered, and of those that were sent. */
  readonly answered: Set<string>
  readonly sent: Set<string>
  /** The codes with which the WebSockets ended. */
  readonly codes: number[]
  stop(): void
  /** Resolves when every client has come to an end. */
  readonly over: Promise<unknown>
}

let lastPath = 0

/** Three clients that pipeline, two with a WebSocket and two with a stream, all busy until their connection ends. */
async function load(port: number): Promise<Load> {
  const answered = new Set<string>()
  const sent = new Set<string>()
  const codes: number[] = []
  let isOver = false
  const newPath = (kind: string): string => {
    const path = `/${kind}/${++lastPath}`
    sent.add(path)
    return path
  }
  const ask = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
  const bodies = (client: RawClient): number => client.text.match(/\r\n\r\nok/g)?.length ?? 0

  async function pipelining(): Promise<void> {
    while (!isOver) {
      const client = rawClient(port)
      let isOpen = true
      void client.ended.then(() => {
        isOpen = false
      })
      for (let from = 0; isOpen && !isOver; from += 8) {
        const paths = Array.from({ length: 8 }, () => newPath('short'))
        client.write(paths.map(ask).join(''))
        while (isOpen && bodies(client) < from + 8) await new Promise((resolve) => setTimeout(resolve, 1))
        for (const path of paths.slice(0, bodies(client) - from)) answered.add(path)
      }
      client.socket.destroy()
      if ((await client.ended) === 'ECONNREFUSED') return
    }
  }

  async function streaming(): Promise<void> {
    const client = rawClient(port)
    const path = newPath('stream')
    client.write(ask(path))
    await client.until('data: first')
    begun()
    await client.ended
  }

  async function chatting(): Promise<void> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${newPath('ws')}`)
    socket.on('error', () => {}).on('message', (data) => socket.send(data))
    await once(socket, 'open')
    socket.send('hello')
    begun()
    codes.push(((await once(socket, 'close')) as [number])[0])
  }

  let left = 4
  let begun!: () => void
  const allBegun = new Promise<void>((resolve) => {
    begun = () => void (--left === 0 && resolve())
  })
  const lasting = [streaming(), streaming(), chatting(), chatting()]
  const all = [pipelining(), pipelining(), pipelining(), ...lasting]
  await Promise.race([allBegun, Promise.all(lasting)])
  return {
    answered,
    sent,
    codes,
    stop() {
      isOver = true
    },
    over: Promise.all(all),
  }
}

for (const threads of [1, 2]) {
  test(`SIGTERM under load ends the command with 0, and no request without a line in the log (threads: ${threads})`, {
    skip: threads > 1 && skipThreads,
  }, async (t) => {
    const backend = await loadedBackend(t)
    const config = { target: backend.url, closeGraceMs: 1500 }
    const flags = ['-l', '127.0.0.1:0', '--threads', String(threads), '--access-log', 'json', '--config', 'heddle.json']
    const heddle = start(t, flags, directory(t, { 'heddle.json': JSON.stringify(config) }))
    const { port } = new URL(await heddle.url())
    const running = await load(Number(port))
    await until(t, () => running.answered.size > 200)
    heddle.child.kill('SIGTERM')
    const { code, stdout } = await heddle.exit()
    running.stop()
    await running.over
    assert.equal(code, 0)
    assert.deepEqual(running.codes, [1001, 1001])
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const logged = new Map<string, number>()
    for (const { target } of lines) logged.set(target, (logged.get(target) ?? 0) + 1)
    for (const path of [...backend.seen, ...running.answered]) assert.equal(logged.get(path), 1, path)
    // What has not ended by itself is cut, and told as that.
    const streams = lines.filter(({ target }) => target.startsWith('/stream'))
    assert.equal(streams.length, 2)
    for (const { outcome } of streams) assert.ok(['cut', 'aborted'].includes(outcome), outcome)
    const sockets = lines.filter(({ target }) => target.startsWith('/ws'))
    assert.deepEqual(
      sockets.map(({ outcome }) => outcome),
      ['upgraded', 'upgraded'],
    )
  })
}

for (const how of ['is terminated', 'runs out of memory'] as const) {
  test(`a thread that ${how} under load is told of and replaced, its clients end, and close() does too`, {
    skip: skipThreads,
  }, async (t) => {
    const backend = await loadedBackend(t)
    const spawned = watchWorkers(t)
    const errors: { message: string; fields: Record<string, unknown> }[] = []
    const none = (): void => {}
    const logger = {
      debug: none,
      info: none,
      warn: none,
      error: (fields: object, message: string) => void errors.push({ message, fields: { ...fields } }),
    }
    const { running, log } = await startThreads(
      t,
      {
        entry: entryOf('deadly', [['backend', backend.url]]),
        threads: 2,
        drainMs: 300,
        resourceLimits: { maxOldGenerationSizeMb: 48 },
      },
      { logger, observer: { onLines: none } },
    )
    const { port } = running.address
    const loads = await Promise.all([load(port), load(port)])
    await until(t, () => loads.every(({ answered }) => answered.size > 50))
    if (how === 'is terminated') await spawned[0]?.terminate()
    else {
      const client = rawClient(port)
      client.write('GET /grow HTTP/1.1\r\nHost: a\r\n\r\n')
      await client.ended
    }
    const died = await log.next('died')
    while ((await log.next('started')).thread <= 2);
    // Its open exchanges are told of by their number: nobody is left to tell of each.
    const told = errors.find(({ message }) => message.startsWith(`thread ${died.thread} died`))
    assert.equal(told?.fields.active, died.stats.active)
    assert.match(told?.message ?? '', new RegExp(`with ${died.stats.active} exchanges under way`))
    // Those who lost their connection go on with another one.
    const before = loads.map(({ answered }) => answered.size)
    await until(t, () => loads.every(({ answered }, i) => answered.size > (before[i] ?? 0) + 50))
    await running.close()
    for (const one of loads) one.stop()
    await Promise.all(loads.map(({ over }) => over))
    assert.equal(running.threads().length, 0)
    assert.equal(log.changes.filter(({ what }) => what === 'died').length, 1)
  })
}
