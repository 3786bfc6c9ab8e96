import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseArguments } from '../../src/cli/arguments.ts'
import { CommandError } from '../../src/cli/command-error.ts'
import { run } from './command.ts'

const TOPICS = ['file', 'listen', 'demo', 'check', 'output', 'signals']

test('--help names every flag and command', async (t) => {
  const { code, stdout, stderr } = await run(t, ['--help'])
  assert.equal(code, 0)
  assert.equal(stderr, '')
  for (const word of [
    '--help',
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
})

test('every help fits a terminal of 24 lines and 80 columns', async (t) => {
  for (const args of [['--help'], ...TOPICS.map((topic) => ['help', topic])]) {
    const { code, stdout } = await run(t, args)
    assert.equal(code, 0)
    const lines = stdout.trimEnd().split('\n')
    assert.ok(lines.length > 1 && lines.length <= 24, args.join(' '))
    for (const line of lines) assert.ok(line.length <= 80, line)
  }
})

test('help is a command, a flag, and a flag of each command', async (t) => {
  const [flag, short, word, topic, ofCommand] = await Promise.all(
    [['--help'], ['-h'], ['help'], ['help', 'check'], ['check', '--help']].map((args) => run(t, args)),
  )
  assert.deepEqual(short, flag)
  assert.deepEqual(word, flag)
  assert.match(topic?.stdout ?? '', /^heddle check \[FILE\]\n/)
  assert.deepEqual(ofCommand, topic)
  for (const name of TOPICS) assert.ok(flag?.stdout.includes(name), name)
})

test('version prints the version of the package, as a command and as a flag', async (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  for (const word of ['version', '--version', '-v']) {
    assert.deepEqual(await run(t, [word]), { code: 0, stdout: `${version}\n`, stderr: '' })
  }
})

test('a wrong command line says what is wrong, and what was probably meant', () => {
  const wrong: [args: string[], message: RegExp][] = [
    [['--nope'], /^unknown flag --nope; see heddle --help$/],
    [['-x'], /^unknown flag -x; see heddle --help$/],
    [['--bakend', 'x'], /^unknown flag --bakend; did you mean --backend\?; see heddle --help$/],
    [['--no-threads'], /^unknown flag --no-threads; .*$/],
    [['chek'], /^unknown command chek; did you mean check\?; see heddle --help$/],
    [['chcek'], /did you mean check\?/],
    [['my.yaml'], /^unknown command my\.yaml; did you mean --config my\.yaml\?; see heddle --help$/],
    [['localhost:1'], /^unknown command localhost:1; did you mean --backend localhost:1\?; see .*$/],
    [['help', 'file', 'x'], /^unexpected argument x; see heddle --help$/],
    [['version', 'x'], /^unexpected argument x; see heddle --help$/],
    [['--listen'], /^Option .*--listen.* argument missing; see heddle --help$/],
    [['serve'], /^unknown command serve; see heddle --help$/],
    [['demo', 'x'], /^unexpected argument x; see heddle --help$/],
    [['check', 'a', 'b'], /^unexpected argument b; see heddle --help$/],
    [['check', 'a', '--config', 'b'], /^check takes one file.*$/],
  ]
  for (const [args, message] of wrong) {
    assert.throws(
      () => parseArguments(args),
      (error) => error instanceof CommandError && error.exitCode === 2 && message.test(error.message),
      args.join(' '),
    )
  }
})

test('a mistake is one line on standard error, and exit code 2', async (t) => {
  for (const [args, message] of [
    [['--bakend', 'x'], /^heddle: unknown flag --bakend; did you mean --backend\?; see heddle --help\n$/],
    [['help', 'lisen'], /^heddle: no help about lisen; did you mean listen\?; topics: file, .*\n$/],
    [['--config', 'none.json'], /^heddle: cannot read none\.json: ENOENT.*\n$/],
    [[], /^heddle: no backends: give --backend URL.*\n$/],
  ] as [args: string[], message: RegExp][]) {
    const { code, stdout, stderr } = await run(t, args)
    assert.match(stderr, message)
    assert.deepEqual([code, stdout], [2, ''])
  }
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
  assert.match(
    stderr,
    /--access-log is "apache"\n {4}allowed: off, common, combined, json\n {4}example: --access-log json\n/,
  )
  assert.match(stderr, /--log-level is "loud"/)
  assert.doesNotMatch(stderr, /hunter2/)
})

test('threads are a number or auto', async (t) => {
  const { code, stderr } = await run(t, ['--backend', 'http://127.0.0.1:1', '--threads', 'many'])
  assert.equal(code, 2)
  assert.match(stderr, /--threads is "many"/)
})

test('a flag that is given twice adds an address or a backend', async (t) => {
  const flags = ['-l', '127.0.0.1:1', '-l', '2', '-b', 'localhost:3001', '-b', ':3002', '-b', '3003/base']
  const { stdout, stderr } = await run(t, ['check', ...flags])
  assert.equal(stderr, '')
  assert.equal(stdout, 'ok: the flags: 1 group, 3 backends, 0 routes, listening on 127.0.0.1:1, *:2\n')
})
