import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import dns from 'node:dns'
import { once } from 'node:events'
import net from 'node:net'
import { afterEach, beforeEach, describe, mock, test } from 'node:test'
import { httpProbe } from '../../src/index.ts'
import { Backend } from '../../src/model/backend.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, rounds } from '../support/running-proxy.ts'
import { upgradeRequest } from '../support/upgrade-backends.ts'

// A backend that is stopped, and whose queue of connections is full: the system drops what else wants to connect.
const SOURCE = `
  const server = require('node:http').createServer((req, res) => res.end('slow'))
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port))
`

type Lookup = (name: string, options: object, done: (error: null, addresses: dns.LookupAddress[]) => void) => void

let child: ChildProcess
let port = 0
let lookups = 0
let onLookup: () => void = () => {}
/** The second address refuses connections. */
const ADDRESSES: dns.LookupAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '127.0.0.2', family: 4 },
]

beforeEach(async () => {
  child = spawn(process.execPath, ['-e', SOURCE], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout as NodeJS.EventEmitter, 'data')) as [Buffer]
  port = Number(line.toString())
  lookups = 0
  onLookup = () => {}
  const system = dns.lookup as unknown as Lookup
  const fake: Lookup = (name, options, done) => {
    if (name !== 'two.test') return system(name, options, done)
    lookups++
    onLookup()
    process.nextTick(done, null, ADDRESSES)
  }
  mock.method(dns, 'lookup', fake)
})

afterEach(() => {
  mock.restoreAll()
  child.kill('SIGKILL')
})

/** Stops the backend, and fills its queue. */
async function stop(): Promise<net.Socket[]> {
  child.kill('SIGSTOP')
  // Until it has stopped it may take one out of the queue.
  while (
    !execFileSync('ps', ['-o', 'stat=', '-p', String(child.pid)])
      .toString()
      .startsWith('T')
  )
    await rounds(1)
  const fillers: net.Socket[] = []
  for (let i = 0; i < 2; i++) {
    const socket = net.connect(port, '127.0.0.1').on('error', () => {})
    fillers.push(socket)
    await once(socket, 'connect')
  }
  return fillers
}

for (const { name, run } of ALL_FRONTS) {
  describe(name, () => {
    test('a slow address of a name has the whole of timeouts.connect when the others refuse', async () => {
      const fillers = await stop()
      await using front = await run({ target: `http://two.test:${port}`, retry: false, timeouts: { connect: 30_000 } })
      onLookup = () => {
        // The second look: node has given the slow address up, and the other one has refused.
        if (lookups === 2) child.kill('SIGCONT')
      }
      const response = await fetch(front.url)
      assert.deepEqual([response.status, await response.text(), lookups], [200, 'slow', 2])
      assert.equal((await front.nextRecord()).attempts, 1)
      for (const socket of fillers) socket.destroy()
    })

    test('a slow address is given up when timeouts.connect is over', async () => {
      const fillers = await stop()
      await using front = await run({ target: `http://two.test:${port}`, retry: false, timeouts: { connect: 1500 } })
      const response = await fetch(front.url)
      assert.equal(response.status, 504)
      assert.match(await response.text(), /ERR_PROXY_CONNECT_TIMEOUT/)
      assert.equal(lookups, 2)
      for (const socket of fillers) socket.destroy()
    })

    test('an upgrade waits for a slow address as long', async () => {
      const fillers = await stop()
      await using front = await run({ target: `http://two.test:${port}`, retry: false, timeouts: { connect: 30_000 } })
      onLookup = () => {
        if (lookups === 2) child.kill('SIGCONT')
      }
      const client = rawClient(front.port)
      client.write(upgradeRequest())
      await client.ended
      // It does not switch.
      assert.match(client.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*slow/)
      assert.deepEqual([lookups, (await front.nextRecord()).attempts, front.errors], [2, 1, []])
      for (const socket of fillers) socket.destroy()
    })

    test('an upgrade gives a slow address up when timeouts.connect is over', async () => {
      const fillers = await stop()
      await using front = await run({ target: `http://two.test:${port}`, retry: false, timeouts: { connect: 1500 } })
      const client = rawClient(front.port)
      client.write(upgradeRequest())
      await client.ended
      assert.match(client.text, /^HTTP\/1\.1 504 [\s\S]*ERR_PROXY_CONNECT_TIMEOUT/)
      assert.deepEqual([lookups, front.pending()], [2, 0])
      for (const socket of fillers) socket.destroy()
    })
  })
}

describe('a probe', () => {
  /** What one probe of an unhealthy backend has told by its end. */
  async function probe(timeoutMs: number): Promise<string[]> {
    const fillers = await stop()
    const backend = new Backend({ url: `http://two.test:${port}` })
    backend.state.isUnhealthy = true
    const told: string[] = []
    const control = {
      eject: () => false,
      setUnhealthy: (_backend: Backend, isUnhealthy: boolean, reason: string) =>
        void told.push(`${isUnhealthy} ${reason}`),
    }
    const intervalMs = 100_000
    let stopProbes = (): void => {}
    await new Promise<void>((onEnd) => {
      const clock = {
        ...systemClock,
        schedule(ms: number, task: () => void) {
          if (ms >= intervalMs) onEnd()
          return systemClock.schedule(ms, task)
        },
      }
      stopProbes = httpProbe({ timeoutMs, intervalMs, rise: 1 }, clock).watch?.(backend, control) ?? stopProbes
    })
    stopProbes()
    for (const socket of fillers) socket.destroy()
    return told
  }

  test('waits for a slow address as long as it may take', async () => {
    onLookup = () => {
      if (lookups === 2) child.kill('SIGCONT')
    }
    assert.deepEqual([await probe(30_000), lookups], [['false 1 probes in a row have passed'], 2])
  })

  test('gives a slow address up when its time is over', async () => {
    assert.deepEqual([await probe(1500), lookups], [[], 2])
  })
})
