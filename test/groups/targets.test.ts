import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Group } from '../../src/groups/group.ts'
import { Targets } from '../../src/groups/targets.ts'
import { Backend, type BackendInit } from '../../src/model/backend.ts'

interface Made {
  readonly targets: Targets<Backend>
  /** How often each was made. */
  readonly made: Map<string, number>
  readonly drained: string[]
}

/** Groups of which each has so many open connections. */
function stage(connections = 0): Made {
  const made = new Map<string, number>()
  const drained: string[] = []
  const targets = new Targets(
    (init) => {
      const url = String(init.url)
      made.set(url, (made.get(url) ?? 0) + 1)
      const backend = new Backend(init)
      const others = { backend: 'another', connections: 9999, connecting: 0 }
      const stats = { backends: [others, { backend: backend.id, connections, connecting: 0 }] }
      const group = { backends: [backend], poolStats: () => stats } as unknown as Group
      return { init, group, destination: backend }
    },
    ({ backends: [backend] }) => void drained.push(backend?.id ?? ''),
  )
  return { targets, made, drained }
}

const url = (name: string | number): string => `http://t-${name}`
const init = (name: string | number): BackendInit => ({ url: url(name) })

test('a target that is used between each of 600 others is made once', () => {
  const { targets, made, drained } = stage()
  for (let i = 0; i < 600; i++) {
    targets.get(init('often'))
    targets.get(init(i))
  }
  assert.equal(made.get(url('often')), 1)
  assert.equal(targets.groups.length, 256)
  assert.deepEqual(
    drained,
    Array.from({ length: 345 }, (_, i) => url(i)),
  )
})

test('a target with something pending stays as long as another has nothing', () => {
  const { targets, made, drained } = stage()
  const busy = Array.from({ length: 100 }, (_, i) => targets.get(init(`busy-${i}`)))
  for (const backend of busy) backend.state.addPending(1)
  for (let i = 0; i < 600; i++) targets.get(init(i))
  assert.ok(drained.every((id) => !id.includes('busy')))
  for (const backend of busy) assert.equal(targets.get({ url: backend.id }), backend)
  assert.equal(made.get(url('busy-0')), 1)
})

test('with something pending at all of them the least recently used one goes', () => {
  const { targets, drained } = stage()
  for (let i = 0; i < 256; i++) targets.get(init(i)).state.addPending(1)
  targets.get(init(0))
  targets.get(init('new'))
  assert.deepEqual(drained, [url(1)])
  assert.equal(targets.groups.length, 256)
})

test('with many open connections those that have nothing to do go, the least recently used first', () => {
  const { targets, drained } = stage(100)
  const first = targets.get(init('first'))
  first.state.addPending(1)
  for (let i = 0; i < 12; i++) targets.get(init(i))
  // Eleven have 1100; the twelfth is made after one of them has gone.
  assert.deepEqual(drained, [url(0), url(1)])
  assert.equal(targets.get(init('first')), first)
})

for (const [what, settings] of [
  ['id', { id: 'a' }],
  ['weight', { weight: 2 }],
  ['metadata', { metadata: { zone: ['a'] } }],
  ['set of TLS settings', { tls: { servername: 'a' } }],
] as const) {
  test(`targets with the same URL and another ${what} are others, and the same content is the same target`, () => {
    const { targets, made } = stage()
    const plain = targets.get(init(1))
    const one = targets.get({ ...init(1), ...settings })
    assert.notEqual(one, plain)
    assert.equal(targets.get({ url: new URL(url(1)).origin, ...structuredClone(settings) }), one)
    assert.equal(targets.get(init(1)), plain)
    assert.equal(made.get(url(1)), 2)
  })
}
