import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { SCENARIOS } from './scenarios.js'
import { SUBJECTS } from './subjects.js'

/*
 * What has been measured, as docs/benchmarks.md needs it: every round of every subject, so that the document can be written again
 * without a run (`--render`), and a run of a few scenarios keeps the figures of the others. A record is `{ results, micro }`: a result
 * for each scenario, `{ name, backend, rows, times, ...circumstances() }`, and `micro` is `null` or `{ rows, ...circumstances() }`.
 */
const FILE = new URL('results.json', import.meta.url)

/** Of the last minute before the run: how many processes wanted to run, on average. */
const [loadBefore] = os.loadavg()

/** When, how and where `name` was measured: the options are those of the run, without its other scenarios. */
export const circumstances = (name) => ({
  command: ['npm run bench --', name, ...process.argv.slice(2).filter((word) => !isName(word))].join(' '),
  date: new Date().toISOString(),
  machine: `${os.cpus()[0]?.model.trim()}, ${os.availableParallelism()} cores, ${os.type()} ${os.release()} ${os.arch()}`,
  node: process.version,
  loadBefore,
})

/** `saved` with what `measured` has in place of its own. */
export function merged(saved, measured) {
  const all = new Map([...saved.results, ...measured.results].map((result) => [result.name, result]))
  const results = Object.keys(SCENARIOS).flatMap((name) => all.get(name) ?? [])
  return { results, micro: measured.micro ?? saved.micro }
}

export function saveRecord({ results, micro }) {
  const plain = results.map(({ rows, ...rest }) => ({ ...rest, rows: rows.map(withFile) }))
  writeFileSync(FILE, `${JSON.stringify({ results: plain, micro })}\n`)
}

export function savedRecord() {
  if (!existsSync(FILE)) return { results: [], micro: null }
  const { results, micro } = JSON.parse(readFileSync(FILE, 'utf8'))
  return { results: results.map(({ rows, ...rest }) => ({ ...rest, rows: rows.map(withSubject) })), micro }
}

const isName = (word) => Object.hasOwn(SCENARIOS, word) || word === 'micro' || word === 'all'
const withFile = (row) => ({ ...row, subject: row.subject.file })
const withSubject = (row) => ({ ...row, subject: SUBJECTS.find(({ file }) => file === row.subject) })
