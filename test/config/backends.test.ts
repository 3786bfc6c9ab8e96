import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BackendInput, resolveBackends } from '../../src/config/backends.ts'
import { resolveOptions } from '../../src/config/resolve.ts'
import { Backend } from '../../src/model/backend.ts'

const METADATA = { zone: 'a' }
const GIVEN: readonly BackendInput[] = [
  'http://a:1',
  new URL('http://b:1/prefix'),
  { url: 'http://c:1', id: 'c', weight: 2, metadata: METADATA, tls: { servername: 'c.internal' } },
  { url: new URL('http://d:1') },
  'http://e:1',
]

function presentOf(given: readonly BackendInput[]): Backend[] {
  return resolveBackends(given).map((init) => new Backend(init))
}

/** Positions of `present` that each comes from; -1 for one that was made. */
function origins(given: readonly BackendInput[], present: readonly Backend[]): number[] {
  return resolveBackends(given, present).map((init) => present.findIndex((backend) => backend.init === init))
}

test('unchanged backends keep their objects at any position', () => {
  const present = presentOf(GIVEN)
  assert.deepEqual(origins(GIVEN, present), [0, 1, 2, 3, 4])
  assert.deepEqual(origins(structuredCloneOf(GIVEN), present), [0, 1, 2, 3, 4])
  assert.deepEqual(origins(GIVEN.toReversed(), present), [4, 3, 2, 1, 0])
  assert.deepEqual(origins(['http://new:1', ...GIVEN], present), [-1, 0, 1, 2, 3, 4])
  assert.deepEqual(origins(GIVEN.toSpliced(2, 1), present), [0, 1, 3, 4])
  assert.deepEqual(origins(GIVEN.toSpliced(1, 2, 'http://x:1'), present), [0, -1, 3, 4])
  assert.deepEqual(origins([], present), [])
})

/** The same in other objects; metadata is the application's own. */
function structuredCloneOf(given: readonly BackendInput[]): BackendInput[] {
  return given.map((each) => {
    if (typeof each === 'string') return each
    if (each instanceof URL) return new URL(each)
    return { ...each, ...(each.tls !== undefined && { tls: { ...each.tls } }) }
  })
}

const C = GIVEN[2] as object
for (const [what, changed] of [
  ['weight', { ...C, weight: 3 }],
  ['metadata', { ...C, metadata: { ...METADATA } }],
  ['TLS settings', { ...C, tls: { servername: 'other.internal' } }],
  ['id', { ...C, id: 'other' }],
  ['URL', { ...C, url: 'http://c:2' }],
  ['presence of a weight', { url: 'http://c:1', id: 'c' }],
] as const) {
  test(`another ${what} is a change`, () => {
    const present = presentOf(GIVEN)
    const given = GIVEN.with(2, changed as BackendInput)
    assert.deepEqual(origins(given, present), [0, 1, -1, 3, 4])
    assert.deepEqual(resolveBackends(given, present), resolveBackends(given))
  })
}

test('faults have the same positions as without present backends', () => {
  const present = presentOf(GIVEN)
  for (const given of [
    GIVEN.with(3, 'nowhere'),
    GIVEN.with(3, { url: 'http://x', weight: -1 }),
    GIVEN.with(3, { ...C, wieght: 1 } as unknown as BackendInput),
    GIVEN.with(3, 5 as unknown as BackendInput),
    GIVEN.with(3, null as unknown as BackendInput),
    GIVEN.with(3, Object.create(null) as BackendInput),
    [...GIVEN, 'http://a:1'],
    [...GIVEN, { url: 'http://y', id: 'c' }],
    [...GIVEN, 'http://z:1', 'http://z:1'],
    ['nowhere', ...GIVEN, 'neither'],
  ]) {
    const errorOf = (resolve: () => unknown): unknown => {
      try {
        return resolve()
      } catch (error) {
        return (error as Error).message
      }
    }
    const expected = errorOf(() => resolveOptions({ backends: [...given] }))
    assert.equal(typeof expected, 'string')
    assert.equal(
      errorOf(() => resolveBackends(given, present)),
      expected,
    )
  }
})
