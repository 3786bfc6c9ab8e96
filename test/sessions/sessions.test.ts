import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy } from '../../src/index.ts'
import { bySession } from '../snippets/sticky-sessions.ts'
import { inParallel, openSession, type Session, socketIoBackend } from './clients.ts'
import { byAddress, type Stage, serve, sessionTests } from './suite.ts'

sessionTests(60, [
  ['consistent-hash by address', 'polling'],
  ['consistent-hash by cookie, in threads', 'polling, then WebSocket'],
  ['an affinity by sid', 'polling'],
  ['an affinity by sid', 'polling, then WebSocket'],
  ['an affinity by the name in the sid', 'polling'],
])

/** A session and the backend that has it. */
interface Placed {
  readonly session: Session
  readonly name: string
}

async function openSessions({ url }: Stage, from: number, count = 30): Promise<Placed[]> {
  const placed: Placed[] = []
  await inParallel(count, async (number) => {
    const session = await openSession(url, from + number, ['polling'])
    placed.push({ session, name: await session.echo('first') })
  })
  return placed
}

/** The names of those that are served as before, and of those that are lost. */
async function askAll(sessions: readonly Placed[]): Promise<{ kept: Placed[]; lost: Placed[] }> {
  const kept: Placed[] = []
  const lost: Placed[] = []
  await Promise.all(
    sessions.map(async (one) => {
      const name = await one.session.echo('again').catch(() => null)
      if (name !== null) assert.equal(name, one.name)
      if (name === null) lost.push(one)
      else kept.push(one)
    }),
  )
  return { kept, lost }
}

const closeAll = (sessions: readonly Placed[]) => Promise.all(sessions.map(({ session }) => session.close()))
const namesOf = (sessions: readonly Placed[]) => [...new Set(sessions.map(({ name }) => name))].sort()

test('an affinity by sid loses no session if a backend is added or drained, and those of one that is removed', async () => {
  await using stage = await serve((backends) => bySession(backends, 'silent'))
  await using added = await socketIoBackend('d')
  const { proxy, backends } = stage
  const [first, ...others] = backends.map(({ url }) => url)
  const sessions = await openSessions(stage, 0)
  assert.deepEqual(namesOf(sessions), ['a', 'b', 'c'])

  await proxy.setBackends([...backends.map(({ url }) => url), added.url])
  proxy.drain(first ?? '')
  assert.deepEqual((await askAll(sessions)).lost, [])
  const later = await openSessions(stage, 100)
  // The new backend has the fewest pending polls, and may get them all.
  assert.deepEqual([namesOf(later).includes('a'), namesOf(later).includes('d')], [false, true])

  await proxy.setBackends([...others, added.url])
  const { kept, lost } = await askAll([...sessions, ...later])
  assert.deepEqual(namesOf(lost), ['a'])
  assert.deepEqual(namesOf(kept), ['b', 'c', 'd'])
  await closeAll([...kept, ...lost])
})

test('consistent-hash loses the sessions of a removed backend, and those that an added one takes over', async () => {
  await using stage = await serve((backends) => createProxy({ backends, balancer: byAddress, logger: 'silent' }))
  await using added = await socketIoBackend('d')
  const { proxy, backends } = stage
  const [, ...others] = backends.map(({ url }) => url)
  const sessions = await openSessions(stage, 0, 60)
  assert.deepEqual(namesOf(sessions), ['a', 'b', 'c'])

  await proxy.setBackends(others)
  const one = await askAll(sessions)
  assert.deepEqual([namesOf(one.lost), namesOf(one.kept)], [['a'], ['b', 'c']])

  await proxy.setBackends([...others, added.url])
  const two = await askAll(one.kept)
  // A third of the keys, more or less: their owner is the new backend now.
  assert.ok(two.lost.length < one.kept.length * 0.6, `${two.lost.length} of ${one.kept.length}`)
  await closeAll(sessions)
})
