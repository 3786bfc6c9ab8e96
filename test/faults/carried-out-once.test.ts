import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { describe, test } from 'node:test'
import { seededRandom } from '../../src/testing/random.ts'
import { ALL_FRONTS } from '../support/running-proxy.ts'

/** What a backend may do with a connection: each at its moment, with a FIN or a reset. */
const MOMENTS = [
  'never',
  'on connect',
  'in the head',
  'in the body',
  'when read',
  'in the response',
  'after it',
  'later',
] as const

interface ChaoticBackend {
  readonly url: string
  /** How often the head of each POST has come, and how often all of it. */
  readonly begun: Map<string, number>
  readonly done: Map<string, number>
  close(): Promise<void>
}

function count(map: Map<string, number>, id: string): void {
  map.set(id, (map.get(id) ?? 0) + 1)
}

/** Serves HTTP/1.1 with keep-alive, and ends connections at any moment. */
async function chaoticBackend(random: () => number): Promise<ChaoticBackend> {
  const begun = new Map<string, number>()
  const done = new Map<string, number>()
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.setNoDelay(true).on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    const end = (): void => void (random() < 0.5 ? socket.destroy() : socket.resetAndDestroy())
    let moment = draw()
    let text = ''
    let hasHead = false
    if (moment === 'on connect') return end()
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      while (text !== '' && !socket.destroyed) {
        const headEnd = text.indexOf('\r\n\r\n')
        if (moment === 'in the head' && text.length > 30) return end()
        if (headEnd < 0) return
        const head = text.slice(0, headEnd)
        const id = /^(?:GET|POST|PUT) \/(\S+)/.exec(head)?.[1] ?? ''
        const isPost = head.startsWith('POST')
        if (isPost && !hasHead) count(begun, id)
        hasHead = true
        if (moment === 'in the body') return end()
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
        if (text.length < headEnd + 4 + length) return
        text = text.slice(headEnd + 4 + length)
        hasHead = false
        if (isPost) count(done, id)
        if (moment === 'when read') return end()
        const response = `HTTP/1.1 200 OK\r\nContent-Length: ${id.length}\r\n\r\n${id}`
        if (moment === 'in the response') {
          socket.write(response.slice(0, Math.floor(random() * response.length)))
          return end()
        }
        socket.write(response)
        if (moment === 'after it') return end()
        if (moment === 'later') setTimeout(end, Math.floor(random() * 4))
        moment = draw()
      }
    })
  })
  function draw(): (typeof MOMENTS)[number] {
    // More than half of the requests get their response.
    return random() < 0.5 ? 'never' : (MOMENTS[Math.floor(random() * MOMENTS.length)] ?? 'never')
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    begun,
    done,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function ask(port: number, agent: http.Agent, method: string, id: string, body: Buffer[]): Promise<[number, string]> {
  return new Promise((resolve) => {
    const length = body.reduce((sum, piece) => sum + piece.length, 0)
    const headers = method === 'GET' ? {} : { 'Content-Length': length }
    const request = http.request({ port, agent, method, path: `/${id}`, headers }, (response) => {
      let text = ''
      response
        .on('data', (chunk) => {
          text += chunk
        })
        .on('error', () => resolve([0, '']))
        .on('end', () => resolve([response.statusCode ?? 0, text]))
    })
    request.on('error', () => resolve([0, '']))
    for (const piece of body) request.write(piece)
    request.end()
  })
}

const REQUESTS = 250
const CLIENTS = 12

for (const { name, run } of ALL_FRONTS) {
  describe(name, () => {
    for (const seed of [1, 2, 3]) {
      test(`no POST is carried out twice, nor begun twice, whenever its backend ends the connection (seed ${seed})`, async () => {
        const random = seededRandom(seed)
        const backends = [await chaoticBackend(random), await chaoticBackend(random)]
        const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS })
        const statuses = new Map<number, number>()
        {
          await using front = await run({
            backends: backends.map(({ url }) => url),
            healthCheck: false,
            pool: { maxConnections: 4 },
            retry: { minPerSecond: 10_000 },
          })
          let next = 0
          const client = async (): Promise<void> => {
            while (next < REQUESTS) {
              const id = `id-${next++}-`
              const method = ['POST', 'POST', 'PUT', 'GET'][Math.floor(random() * 4)] ?? 'GET'
              const pieces = method === 'GET' ? 0 : Math.floor(random() * 3)
              const body = Array.from({ length: pieces }, () =>
                Buffer.alloc(1 + Math.floor(random() ** 4 * 100_000), 'x'),
              )
              const [status, text] = await ask(front.port, agent, method, id, body)
              if (status === 200) assert.equal(text, id)
              statuses.set(status, (statuses.get(status) ?? 0) + 1)
            }
          }
          await Promise.all(Array.from({ length: CLIENTS }, client))
        }
        agent.destroy()
        const begun = new Map<string, number>()
        let done = 0
        for (const backend of backends) {
          for (const [id, times] of backend.begun) begun.set(id, (begun.get(id) ?? 0) + times)
          done += backend.done.size
          await backend.close()
        }
        const twice = Array.from(begun).filter(([, times]) => times > 1)
        assert.deepEqual(twice, [])
        // It was neither calm nor hopeless.
        assert.ok(done > REQUESTS / 5, `${done} POSTs were carried out`)
        assert.ok((statuses.get(200) ?? 0) > REQUESTS / 3, JSON.stringify(Array.from(statuses)))
        assert.ok((statuses.get(502) ?? 0) > 0, JSON.stringify(Array.from(statuses)))
      })
    }
  })
}
