import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import dns from 'node:dns'
import { once } from 'node:events'
import net from 'node:net'
import { afterEach, beforeEach, describe, mock, test } from 'node:test'
import { FRONTS, rounds } from '../support/running-proxy.ts'

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

for (const { name, run } of FRONTS) {
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
  })
}
