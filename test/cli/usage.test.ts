import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { run } from './command.ts'

test('--help names every flag and command', async (t) => {
  const { code, stdout, stderr } = await run(t, ['--help'])
  assert.equal(code, 0)
  assert.equal(stderr, '')
  for (const word of [
    '--config',
    '--listen',
    '--backend',
    '--balancer',
    '--threads',
    '--access-log',
    '--log-level',
    '--version',
  ]) {
    assert.ok(stdout.includes(word), word)
  }
  assert.match(stdout, /heddle demo/)
  assert.match(stdout, /heddle check/)
  assert.ok(stdout.split('\n').every((line) => line.length <= 100))
})

test('--version prints the version of the package', async (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  assert.deepEqual(await run(t, ['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

test('a wrong command line is one line on standard error, and exit code 2', async (t) => {
  const wrong: [args: string[], message: RegExp][] = [
    [['--nope'], /^heddle: Unknown option '--nope'; see heddle --help\n$/],
    [['--listen'], /^heddle: Option .*--listen.* argument missing; see heddle --help\n$/],
    [['serve'], /^heddle: unknown command serve; see heddle --help\n$/],
    [['demo', 'x'], /^heddle: unexpected argument x; see heddle --help\n$/],
    [['check', 'a', 'b'], /^heddle: unexpected argument b; see heddle --help\n$/],
    [['check', 'a', '--config', 'b'], /^heddle: check takes one file.*\n$/],
    [[], /^heddle: no backends: give --backend URL.*\n$/],
  ]
  await Promise.all(
    wrong.map(async ([args, message]) => {
      const { code, stdout, stderr } = await run(t, args)
      assert.match(stderr, message)
      assert.equal(code, 2)
      assert.equal(stdout, '')
    }),
  )
})

test('every wrong flag is reported at once, by its name', async (t) => {
  const { code, stderr } = await run(t, [
    ...['--backend', 'http://127.0.0.1:1', '--backend', 'ftp://user:hunter2@x', '--balancer', 'best'],
    ...['--listen', '99999', '--access-log', 'apache', '--log-level', 'loud'],
  ])
  assert.equal(code, 2)
  assert.match(stderr, /^heddle: 5 options are wrong:\n/)
  for (const line of [/--backend #2 is invalid/, /--balancer is 'best'/, /--listen is "99999"/])
    assert.match(stderr, line)
  assert.match(stderr, /--access-log is "apache"\n {4}allowed: off, common, combined, json\n/)
  assert.match(stderr, /--log-level is "loud"/)
  assert.doesNotMatch(stderr, /hunter2/)
})

test('threads are a number or auto', async (t) => {
  const { code, stderr } = await run(t, ['--backend', 'http://127.0.0.1:1', '--threads', 'many'])
  assert.equal(code, 2)
  assert.match(stderr, /--threads is "many"/)
})
