import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { directory } from '../cli/command.ts'

const VITEST = fileURLToPath(new URL('../../../node_modules/vitest/vitest.mjs', import.meta.url))
const FOLDER = fileURLToPath(new URL('./vitest', import.meta.url))

interface Report {
  readonly testResults: readonly {
    readonly name: string
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[]
  }[]
}

test('the contract suites run under vitest, and detect a broken pool', (t) => {
  const report = join(directory(t), 'report.json')
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      VITEST,
      'run',
      '--root',
      FOLDER,
      '--config',
      join(FOLDER, 'config.js'),
      '--reporter=json',
      `--outputFile=${report}`,
    ],
    { encoding: 'utf8', timeout: 50_000 },
  )
  assert.equal(status, 1, `${stdout}\n${stderr}`)
  const { testResults }: Report = JSON.parse(readFileSync(report, 'utf8'))
  const results = (file: string) => testResults.find(({ name }) => name.endsWith(file))?.assertionResults ?? []
  const failures = results('/own.js').filter((result) => result.status !== 'passed')
  assert.deepEqual(failures, [])
  assert.ok(results('/own.js').length > 60)
  const broken = results('/broken.js').filter((result) => result.status === 'failed')
  assert.deepEqual(
    broken.map(({ fullName }) => fullName),
    ['a pool without figures is a Pool stats() counts open, idle, new and reused connections'],
  )
})
