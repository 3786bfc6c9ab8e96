import assert from 'node:assert/strict'
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts'
import { FLAG, FRAME, PREFACE } from '../../src/http2/protocol.ts'
import type { BackendPoolStats, GroupOptions, Proxy, ProxyOptions } from '../../src/index.ts'
import { block, type Frame, frame, frameParser, settings } from '../http2/wire.ts'
import { type RunningProxy, runProxy } from '../support/running-proxy.ts'

/** One connection of a {@link rawBackend}. */
export interface BackendConnection {
  readonly socket: Socket
  readonly frames: Frame[]
  send(...frames: readonly Buffer[]): void
  /** The next frame of this type that no earlier call has returned. */
  next(type: number): Promise<Frame>
  /** The next request: its stream, and its fields as an object. */
  request(): Promise<{
    readonly id: number
    readonly fields: Readonly<Record<string, string>>
    readonly isEnd: boolean
  }>
  readonly closed: Promise<unknown>
}

/** A backend that speaks HTTP/2, whose frames a test writes. */
export interface RawBackend extends AsyncDisposable {
  readonly url: string
  readonly connections: BackendConnection[]
}

/** @param serve is called for each connection, after the preface has come. It sends the settings, if any. */
export async function rawBackend(serve: (connection: BackendConnection) => unknown): Promise<RawBackend> {
  const connections: BackendConnection[] = []
  const sockets = new Set<Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    const connection = connect(socket, serve)
    connections.push(connection)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function connect(socket: Socket, serve: (connection: BackendConnection) => unknown): BackendConnection {
  const frames: Frame[] = []
  const decoder = new HpackDecoder({ maxHeadBytes: 1 << 20, maxHeaders: 1000 })
  const taken = new Set<Frame>()
  let look: (() => void)[] = []
  const parse = frameParser()
  let start = Buffer.alloc(0)
  let hasPreface = false
  const connection: BackendConnection = {
    socket,
    frames,
    closed: new Promise((resolve) => socket.once('close', resolve)),
    send: (...some) => void socket.write(Buffer.concat(some)),
    next: (type) =>
      new Promise((resolve) => {
        const find = (): void => {
          const found = frames.find((one) => one.type === type && !taken.has(one))
          if (found === undefined) return void look.push(find)
          taken.add(found)
          resolve(found)
        }
        find()
      }),
    async request() {
      const { id, flags, payload } = await connection.next(FRAME.HEADERS)
      const read = decoder.decode(payload, 0, payload.length)
      const fields: Record<string, string> = {}
      const all = read === null ? [] : [...read.pseudo, ...read.list]
      for (let i = 0; i < all.length; i += 2) fields[all[i] as string] = all[i + 1] as string
      return { id, fields, isEnd: (flags & FLAG.END_STREAM) !== 0 }
    },
  }
  socket.on('data', (chunk: Buffer) => {
    let bytes = chunk
    if (!hasPreface) {
      start = Buffer.concat([start, chunk])
      if (start.length < PREFACE.length) return
      hasPreface = true
      bytes = start.subarray(PREFACE.length)
      void serve(connection)
    }
    frames.push(...parse(bytes))
    const waiting = look
    look = []
    for (const find of waiting) find()
  })
  return connection
}

/** HEADERS of a response. */
export function head(
  id: number,
  status: number | string,
  fields: readonly [string, string][] = [],
  isEnd = false,
): Buffer {
  const flags = FLAG.END_HEADERS | (isEnd ? FLAG.END_STREAM : 0)
  return frame(FRAME.HEADERS, flags, id, block([[':status', String(status)], ...fields]))
}

/** Settings, and the acknowledgement of the client's. */
export function greet(connection: BackendConnection, ...pairs: readonly (readonly [number, number])[]): void {
  connection.send(settings(...pairs), frame(FRAME.SETTINGS, FLAG.ACK, 0))
}

/** A proxy before a {@link rawBackend}. */
export interface RawRun extends AsyncDisposable {
  readonly backend: RawBackend
  readonly front: RunningProxy
}

/** Runs a proxy before a {@link rawBackend}. */
export async function runRaw(
  serve: (connection: BackendConnection) => unknown,
  options: GroupOptions = {},
): Promise<RawRun> {
  const backend = await rawBackend(serve)
  const front = await runProxy({ backends: [{ url: backend.url, protocol: 'h2' }], ...options } as ProxyOptions)
  return {
    backend,
    front,
    async [Symbol.asyncDispose]() {
      await front[Symbol.asyncDispose]()
      await backend[Symbol.asyncDispose]()
    },
  }
}

/** Statistics of the only backend. */
export function poolStats(proxy: Proxy): BackendPoolStats {
  const [stats] = proxy.stats().groups[0]?.pool?.backends ?? []
  assert.ok(stats)
  return stats
}
