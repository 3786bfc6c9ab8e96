import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, type Proxy, workerThreads } from '../../src/index.ts'
import { bySession } from '../snippets/sticky-sessions.ts'
import { without } from '../threads/threaded.ts'
import { inParallel, openSession, type SocketIoBackend, socketIoBackend, type Transports } from './clients.ts'

export const byAddress = { name: 'consistent-hash' } as const
const byCookie = { name: 'consistent-hash', by: { cookie: 'session' } } as const

const sessionOf = (target: string) => /[?&]sid=([\w-]+)/.exec(target)?.[1]

/** Ways to keep a session at its backend. */
const WAYS: Readonly<Record<string, { make(backends: string[]): Proxy; skip?: string | false }>> = {
  'consistent-hash by address': { make: (backends) => createProxy({ backends, balancer: byAddress }) },
  'consistent-hash by address, in threads': {
    make: (backends) => createProxy({ backends, balancer: byAddress, executor: workerThreads({ threads: 2 }) }),
    skip: await without(),
  },
  'consistent-hash by cookie': { make: (backends) => createProxy({ backends, balancer: byCookie }) },
  'consistent-hash by cookie, in threads': {
    make: (backends) => createProxy({ backends, balancer: byCookie, executor: workerThreads({ threads: 2 }) }),
    skip: await without(),
  },
  'an affinity by the name in the sid': {
    make: (backends) =>
      createProxy({
        backends: backends.map((url, i) => ({ url, id: ['a', 'b', 'c'][i] ?? url })),
        affinity: {
          name: 'session',
          onLost: 'refuse',
          find: (exchange, backends) =>
            backends.find(({ id }) => sessionOf(exchange.target)?.startsWith(`${id}-`)) ?? null,
          bind() {},
        },
      }),
  },
  'an affinity by sid': { make: (backends) => bySession(backends) },
}

const TRANSPORTS: Readonly<Record<string, Transports>> = {
  polling: ['polling'],
  'polling, then WebSocket': ['polling', 'websocket'],
}

/** Tests of so many sessions each; of a way with its transports. */
export function sessionTests(count: number, pairs: readonly (readonly [way: string, transports: string])[]): void {
  for (const [way, kind] of pairs) {
    const { make, skip = false } = WAYS[way] as (typeof WAYS)[string]
    test(`${count} sessions of socket.io, ${kind}, lose none: ${way}`, { skip }, async () => {
      await using stage = await serve(make)
      const lost: string[] = []
      const served = new Map<string, number>()
      await inParallel(count, async (number) => {
        try {
          const session = await openSession(stage.url, number, TRANSPORTS[kind] as Transports)
          const names = new Set<string>()
          for (const text of ['one', 'two', 'three', 'four']) names.add(await session.echo(text))
          await session.close()
          for (const name of names) served.set(name, (served.get(name) ?? 0) + 1)
          if (names.size > 1) throw new Error(`served by ${[...names]}`)
        } catch (error) {
          lost.push(`${number}: ${(error as Error).message}`)
        }
      })
      assert.deepEqual(lost, [])
      assert.deepEqual([...served.keys()].sort(), ['a', 'b', 'c'])
    })
  }
}

/** A proxy with three backends. */
export interface Stage extends AsyncDisposable {
  readonly proxy: Proxy
  readonly url: string
  readonly backends: readonly SocketIoBackend[]
}

export async function serve(make: (backends: string[]) => Proxy): Promise<Stage> {
  const backends = await Promise.all(['a', 'b', 'c'].map(socketIoBackend))
  const proxy = make(backends.map(({ url }) => url))
  const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  return {
    proxy,
    url,
    backends,
    async [Symbol.asyncDispose]() {
      // First: the last requests of the clients may be on their way.
      await proxy.close()
      await Promise.all(backends.map((backend) => backend[Symbol.asyncDispose]()))
    },
  }
}
