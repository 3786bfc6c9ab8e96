import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { PACKAGE_ROOT, startScript } from './support/script.ts'

const readme = readFileSync(`${PACKAGE_ROOT}/README.md`, 'utf8')
const snippet = /^<!-- test -->\n+```js\n(.+?)^```$/ms.exec(readme)?.[1] ?? ''

test('the example of README.md has twelve lines and runs as it stands', async (t) => {
  assert.equal(snippet.trimEnd().split('\n').length, 12)
  // As an ES module in the package's folder, where 'heddle' is the package itself.
  const script = startScript(t, ['--input-type=module', '--eval', snippet])
  const url = await script.url()
  const answers = [await (await fetch(`${url}/a`)).text(), await (await fetch(`${url}/a`)).text()]
  for (const answer of answers) assert.match(answer, /^(?:one|two) answers \/a\n$/)
})
