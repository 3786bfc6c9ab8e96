import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { describe, test } from 'node:test'
import grpc from '@grpc/grpc-js'
import type { ProxyOptions } from '../../src/index.ts'
import { deadPort } from '../../src/testing/index.ts'
import { queue, runBoth } from '../support/running-proxy.ts'
import { PACKAGE_ROOT } from '../support/script.ts'
import { codeOf, echoClient, echoServer } from './service.ts'

/*
 * The same with gRPC's C core, by Python's grpcio (Debian: python3-grpcio), which is stricter than @grpc/grpc-js. A suite of its own,
 * since it may be missing: npm run test:grpc
 */

const PYTHON = process.env.PYTHON ?? '/usr/bin/python3'
const { status } = grpc

interface Peer extends AsyncDisposable {
  readonly child: ChildProcessByStdio<Writable, Readable, null>
  nextLine(): Promise<string>
}

function peer(...args: string[]): Peer {
  const child = spawn(PYTHON, [join(PACKAGE_ROOT, 'test/grpc/peer.py'), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = queue<string>()
  createInterface({ input: child.stdout })
    .on('line', (line) => lines.push(line))
    .on('close', () => lines.push('closed'))
  const closed = once(child, 'close')
  return {
    child,
    nextLine: lines.next,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await closed
    },
  }
}

async function server(...args: string[]): Promise<Peer & { readonly port: number }> {
  const running = peer('server', ...args)
  return Object.assign(running, { port: Number(await running.nextLine()) })
}

/** A proxy in front of a server, with a service that has no route, and one that has a dead backend. */
async function options(port: number): Promise<ProxyOptions> {
  const backend = { url: `http://127.0.0.1:${port}`, protocol: 'h2' } as const
  const dead = { url: (await deadPort()).url, protocol: 'h2' } as const
  return {
    groups: { echo: { backends: [backend] }, dead: { backends: [dead] } },
    routes: [
      { path: '/test.Echo', group: 'echo', grpc: true },
      { path: '/dead.Service', group: 'dead', grpc: true },
    ],
  }
}

describe('gRPC through the proxy, with the C core', () => {
  test('its client, before a server of @grpc/grpc-js', async () => {
    await using backend = await echoServer()
    await using front = await runBoth(await options(backend.port))
    await using client = peer('client', String(front.port))
    assert.equal(await client.nextLine(), 'done')
    assert.deepEqual([await backend.cancelled(), await backend.cancelled()], ['/test.Echo/Unary', '/test.Echo/Down'])
  })

  test('its client, before its server', async () => {
    await using backend = await server()
    await using front = await runBoth(await options(backend.port))
    await using client = peer('client', String(front.port))
    assert.equal(await client.nextLine(), 'done')
    const told = [await backend.nextLine(), await backend.nextLine(), await backend.nextLine()]
    assert.deepEqual(told, ['hanging unary', 'cancelled unary', 'cancelled down'])
  })

  test('its server, behind a client of @grpc/grpc-js', async () => {
    await using backend = await server()
    await using front = await runBoth(await options(backend.port))
    await using client = echoClient(front.port)
    const bytes = Buffer.from([0, 1, 255])
    const { code, head, trailers, message } = await client.unary({ 'x-data-bin': bytes }, Buffer.alloc(5 << 20, 'l'))
    assert.deepEqual([code, message?.length, head?.get('x-data-bin')], [status.OK, 5 << 20, [bytes]])
    assert.deepEqual(trailers.get('where'), ['trail'])
    const failed = await client.unary({ do: 'fail' })
    assert.deepEqual([failed.code, failed.details], [status.FAILED_PRECONDITION, 'as asked: ü 50%'])
    assert.equal(await client.up(Array.from({ length: 100 }, () => Buffer.alloc(10_000))), '100 1000000')
    assert.equal(await codeOf(client.down({ count: '100', size: '3000' }).resume()), status.OK)
    const cancels = async (call: grpc.ClientUnaryCall): Promise<void> => {
      assert.equal(await backend.nextLine(), 'hanging unary')
      call.cancel()
    }
    assert.equal((await client.unary({ do: 'hang' }, undefined, {}, cancels)).code, status.CANCELLED)
    assert.equal(await backend.nextLine(), 'cancelled unary')
  })

  test('its server ends connections (GOAWAY) while calls run, and no call is lost', async () => {
    await using backend = await server('50')
    await using front = await runBoth(await options(backend.port))
    await using client = echoClient(front.port)
    let left = 2000
    const codes = new Set<number>()
    const run = async (): Promise<void> => {
      while (left-- > 0) codes.add((await client.unary()).code)
    }
    await Promise.all(Array.from({ length: 20 }, run))
    assert.deepEqual([...codes], [status.OK])
  })

  test('its server stops while a stream runs: the stream finishes, new calls go to another backend', async () => {
    await using first = await server()
    await using second = await server()
    const backends = [first, second].map(({ port }) => ({ url: `http://127.0.0.1:${port}`, protocol: 'h2' }) as const)
    await using front = await runBoth({ backends, balancer: 'first-available', routes: [{ grpc: true }] })
    await using client = echoClient(front.port)
    const both = client.both()
    both.write(Buffer.from('one'))
    assert.equal(String((await once(both, 'data'))[0]), 'one')
    first.child.stdin.end()
    // The C core answers CANCELLED to calls that come while it begins to stop, so these say nothing of the proxy.
    for (let i = 0; (await client.unary()).code !== status.OK || i < 3; i++) assert.ok(i < 100)
    for (let i = 0; i < 200; i++) assert.equal((await client.unary()).code, status.OK)
    both.write(Buffer.from('two'))
    assert.equal(String((await once(both, 'data'))[0]), 'two')
    both.end()
    assert.equal(await codeOf(both.resume()), status.OK)
  })

  test('its server is probed', async () => {
    await using backend = await server()
    const probe = { type: 'grpc', intervalMs: 10, rise: 1, fall: 1 } as const
    const target = { url: `http://127.0.0.1:${backend.port}`, protocol: 'h2' } as const
    await using front = await runBoth({ backends: [target], healthCheck: { probe } })
    const changes = queue<string>()
    front.proxy.on('unhealthy', (_backend, reason) => changes.push(reason))
    // Its health service says SERVING, so the first change is that it has gone.
    await using client = echoClient(front.port)
    assert.equal((await client.unary()).code, status.OK)
    backend.child.kill('SIGKILL')
    assert.match(await changes.next(), /ECONNREFUSED|ECONNRESET|closed/)
  })
})
