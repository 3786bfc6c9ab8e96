import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { PACKAGE_ROOT } from '../support/script.ts'

const FOLDER = new URL(`file://${PACKAGE_ROOT}/test/bench/`)
const load = (name: string) => import(new URL(name, FOLDER).href)
const { table, verdict } = await load('table.js')
const { document } = await load('document.js')
const { merged, savedRecord } = await load('results.js')
const { SCENARIOS } = await load('scenarios.js')
const { SUBJECTS } = await load('subjects.js')

/** A row as measure.js makes it, of the rounds that were measured. */
function row(file: string, costOfRounds: readonly number[], changes: object = {}) {
  const subject = SUBJECTS.find((one: { file: string }) => one.file === file)
  const cost = [...costOfRounds].sort((a, b) => a - b)[costOfRounds.length >> 1]
  const times = { perSecond: 1000, p50Us: 1, p99Us: 2, p999Us: 3, peakBytes: 2 ** 20 }
  return { subject, version: '1', failure: null, cost, costOfRounds, ...times, errors: {}, ...changes }
}

// Three rounds in which the machine changed its speed: 41.5 / 23.0 is 1.80, though no round has such a ratio.
const ROWS = [
  row('http-proxy-3', [278, 280, 270]),
  row('heddle', [24, 22, 40]),
  row('heddle-listen', [32.4, 41.5, 42.1]),
  row('haproxy', [23, 29.6, 22.9]),
]
const YARDSTICKS = ['http-proxy-3', 'haproxy']
const cells = (text: string, title: string) =>
  (text.split('\n').find((line) => line.includes(title)) ?? '').split('|').map((cell) => cell.trim())

test('a ratio is the median of those within rounds, with its range', () => {
  const line = cells(table(ROWS, SCENARIOS.hello, YARDSTICKS), '`proxy.listen`')
  assert.deepEqual(line.slice(3, 6), ['41.5 us', '0.15 (0.12-0.16)', '1.41 (1.40-1.84)'])
})

test('a range that includes 1 is marked as noise', () => {
  const text = table(ROWS, SCENARIOS.hello, YARDSTICKS)
  assert.equal(cells(text, '`proxy.web`')[5], '~ 1.04 (0.74-1.75)')
  assert.equal(cells(text, 'HAProxy')[5], '1')
})

test('a sentence says what our server costs beside each yardstick', () => {
  assert.equal(
    verdict(ROWS, SCENARIOS.hello, YARDSTICKS),
    'CPU per request of heddle, `proxy.listen`: 0.15 times that of http-proxy-3 (0.12 to 0.16); ' +
      '1.41 times that of HAProxy, 1 thread (1.40 to 1.84).',
  )
  const even = [row('heddle-listen', [10, 12]), row('haproxy', [11, 11])]
  assert.equal(
    verdict(even, SCENARIOS.idle, YARDSTICKS),
    'Memory per connection of heddle, `proxy.listen`: as much as HAProxy, 1 thread, within the noise (0.91 to 1.09).',
  )
  const failed = [row('heddle-listen', [], { failure: 'it ended' }), row('haproxy', [1])]
  assert.equal(verdict(failed, SCENARIOS.hello, YARDSTICKS), '')
})

test('every scenario says in one sentence what it means', () => {
  for (const [name, { meaning }] of Object.entries<{ meaning?: string }>(SCENARIOS)) {
    assert.match(meaning ?? '', /^[A-Z][^.]+\.$/, name)
  }
})

test('a run of one scenario keeps the figures of the others', () => {
  const at = (name: string, command: string) => ({ name, command })
  const saved = { results: [at('hello', 'old'), at('tls', 'old')], micro: 'old' }
  assert.deepEqual(merged(saved, { results: [at('16k', 'new'), at('hello', 'new')], micro: null }), {
    results: [at('hello', 'new'), at('16k', 'new'), at('tls', 'old')],
    micro: 'old',
  })
})

test('docs/benchmarks.md is made of test/bench/results.json', () => {
  assert.ok(
    readFileSync(`${PACKAGE_ROOT}/docs/benchmarks.md`, 'utf8') === document(savedRecord()),
    'docs/benchmarks.md is out of date; `npm run bench -- --render` writes it again',
  )
})
