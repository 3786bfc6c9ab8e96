import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { mockBackend } from '../../src/testing/index.ts'
import { without } from '../threads/threaded.ts'
import { directory, run, start } from './command.ts'

const skip = await without()

test('--threads sets the number of threads, whose lines have their numbers', { skip }, async (t) => {
  await using backend = await mockBackend({ body: 'hello' })
  const flags = ['--listen', '127.0.0.1:0', '--backend', backend.url, '--threads', '2', '--access-log', 'json']
  const heddle = start(t, flags)
  const url = await heddle.url()
  for (let i = 0; i < 30; i++) await (await fetch(url, { headers: { connection: 'close' } })).text()
  heddle.child.kill('SIGTERM')
  const { code, stdout, stderr } = await heddle.exit()
  assert.equal(code, 0)
  const lines = stdout.trim().split('\n')
  assert.equal(lines.length, 30)
  assert.deepEqual([...new Set(lines.map((line) => JSON.parse(line).thread))].sort(), [1, 2])
  const started = stderr
    .trim()
    .split('\n')
    .filter((line) => line.includes('started'))
  assert.deepEqual(started.map((line) => JSON.parse(line).thread).sort(), [1, 2])
})

test('the file sets the number of threads, also with bounds', { skip }, async (t) => {
  await using backend = await mockBackend({ body: 'hello' })
  const config = { target: backend.url, listen: '127.0.0.1:0', threads: { min: 1, max: 3 }, log: { access: 'off' } }
  const heddle = start(t, [], directory(t, { 'heddle.config.json': JSON.stringify(config) }))
  assert.equal(await (await fetch(await heddle.url(), { headers: { connection: 'close' } })).text(), 'hello')
  heddle.child.kill('SIGTERM')
  const { stderr } = await heddle.exit()
  assert.match(stderr, /thread 1 started/)
  assert.doesNotMatch(stderr, /thread 2 started/)
})

test('threads accepts auto, bounds and numbers only', async (t) => {
  const ways = ['auto', '3', 'many', '0'].map((value) => run(t, ['check', '--backend', 'http://a', '--threads', value]))
  assert.deepEqual(
    (await Promise.all(ways)).map(({ code }) => code),
    [0, 0, 2, 2],
  )
})

test('SIGTERM lets exchanges in threads finish', { skip }, async (t) => {
  let answer: () => void = () => {}
  await using backend = await mockBackend((_request, reply) => {
    answer = () => reply.send({ body: 'to the end' })
  })
  const heddle = start(t, ['--listen', '127.0.0.1:0', '--backend', backend.url, '--threads', '2'])
  const url = await heddle.url()
  const response = fetch(url, { headers: { connection: 'close' } })
  await backend.nextRequest()
  heddle.child.kill('SIGTERM')
  await heddle.output(/SIGTERM: shutting down with 1 in flight/)
  await heddle.output(/thread 2 retiring \(shutdown\)/)
  answer()
  assert.equal(await (await response).text(), 'to the end')
  assert.equal((await heddle.exit()).code, 0)
})

test('a policy as code cannot be sent to threads: exit code 2', async (t) => {
  const source = `
    const balancer = { name: 'first', pick: ([first]) => first }
    export default { target: 'http://127.0.0.1:1', balancer, threads: 2 }`
  const cwd = directory(t, { 'heddle.config.mjs': source })
  for (const args of [[], ['check']]) {
    const { code, stderr } = await run(t, args, cwd)
    assert.equal(code, 2)
    assert.match(
      stderr,
      /^heddle: One option is wrong:\n {2}heddle\.config\.mjs: balancer is an object with functions and cannot be sent/,
    )
    assert.match(stderr, /example: serveModule\(new URL\(/)
  }
})

test('a crash loop of threads ends the command with exit code 1', { skip }, async () => {
  // As soon as a thread says that it serves.
  const preload = `import { parentPort } from 'node:worker_threads'
    if (parentPort) {
      const { postMessage } = parentPort
      parentPort.postMessage = (message) => {
        postMessage.call(parentPort, message)
        if (message.type === 'serving') setTimeout(() => { throw new Error('this machine is haunted') }, 20)
      }
    }`
  const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
  const child = spawn(
    process.execPath,
    [
      '--import',
      `data:text/javascript,${encodeURIComponent(preload)}`,
      ...[main, '--listen', '127.0.0.1:0', '--backend', 'http://127.0.0.1:1', '--threads', '2'],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let stderr = ''
  child.stderr.on('data', (bytes) => {
    stderr += bytes
  })
  const [code] = await once(child, 'close')
  assert.equal(code, 1, stderr)
  const last = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const errors = last.filter(({ level }) => level === 'error').map(({ msg, message }) => msg ?? message)
  assert.ok(
    errors.some((message) => /^thread \d+ died: this machine is haunted$/.test(message)),
    stderr,
  )
  assert.ok(
    errors.includes(
      '5 threads died one after another and are not replaced any more; the last: this machine is haunted',
    ),
    stderr,
  )
})
