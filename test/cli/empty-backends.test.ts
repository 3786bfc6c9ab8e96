import assert from 'node:assert/strict'
import { test } from 'node:test'
import { directory, run, start } from './command.ts'

test('check accepts a group without backends with a warning', async (t) => {
  const file = JSON.stringify({ groups: { a: { backends: [] } }, routes: [{ group: 'a' }] })
  const cwd = directory(t, { 'x.json': file })
  assert.deepEqual(await run(t, ['check', 'x.json'], cwd), {
    code: 0,
    stdout: 'ok: x.json: 1 group, 0 backends, 1 route, listening on *:8080\n',
    stderr: 'heddle: warning: group a has no backends: its requests get 503\n',
  })
})

test('the command serves a configuration without backends: 503', async (t) => {
  const cwd = directory(t, { 'heddle.config.json': JSON.stringify({ backends: [], listen: '127.0.0.1:0' }) })
  const response = await fetch(await start(t, [], cwd).url())
  assert.equal(response.status, 503)
  assert.match(await response.text(), /ERR_PROXY_NO_BACKEND/)
})
