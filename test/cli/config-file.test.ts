import assert from 'node:assert/strict'

import { test } from 'node:test'
import { directory, run } from './command.ts'

const json = (content: object): string => JSON.stringify(content)
const target = 'http://127.0.0.1:3000'

test('check says ok and counts groups, backends and routes', async (t) => {
  const cwd = directory(t, {
    'x.json': json({
      $schema: './schema.json',
      groups: { a: { backends: [target, 'http://127.0.0.1:3001'] }, b: { target } },
      routes: [{ path: '/a', group: 'a' }, { path: '/b', group: 'b' }, { group: 'b' }],
      listen: '[::1]:9000',
      threads: 1,
      log: { access: 'json', level: 'warn' },
    }),
  })
  const expected = {
    code: 0,
    stdout: 'ok: x.json: 2 groups, 3 backends, 3 routes, listening on [::1]:9000\n',
    stderr: '',
  }
  assert.deepEqual(await run(t, ['check', 'x.json'], cwd), expected)
  assert.deepEqual(await run(t, ['check', '--config', 'x.json'], cwd), expected)
})

test('an invalid configuration: every mistake, exit code 2, no start', async (t) => {
  const bad = {
    backends: [{ url: target, weight: -1 }],
    routes: [{ group: 'nope' }],
    listn: 1,
    listen: 'x',
    log: { lvl: 1 },
  }
  const cwd = directory(t, { 'heddle.config.json': json(bad) })
  for (const args of [[], ['check']]) {
    const { code, stdout, stderr } = await run(t, args, cwd)
    assert.equal(code, 2)
    assert.equal(stdout, '')
    assert.match(stderr, /^heddle: 5 options are wrong:\n/)
    for (const path of [
      'backends[0].weight is -1',
      'routes[0].group is',
      'listn is unknown',
      'listen is "x"',
      'log.lvl',
    ]) {
      assert.ok(stderr.includes(`\n  ${path}`), path)
    }
    assert.match(stderr, /allowed: backends, .*, listen, threads, log\n/)
    assert.doesNotMatch(stderr, / at .*\.js/)
  }
})

test('the file in the directory is found in each format', async (t) => {
  const files = {
    'heddle.config.json': json({ target }),
    'heddle.config.mjs': `export default { target: '${target}' }`,
    'heddle.config.js': `module.exports = { target: '${target}' }`,
  }
  for (const [name, content] of Object.entries(files)) {
    const { code, stdout } = await run(t, ['check'], directory(t, { [name]: content }))
    assert.equal(stdout, `ok: ${name}: 1 group, 1 backend, 0 routes, listening on *:8080\n`)
    assert.equal(code, 0)
  }
})

test('TypeScript is read if node can, else rejected with a clear message', async (t) => {
  const cwd = directory(t, { 'heddle.config.ts': `const target: string = '${target}'\nexport default { target }` })
  const { code, stdout, stderr } = await run(t, ['check'], cwd)
  if ((process.features as { typescript?: unknown }).typescript) assert.match(stdout, /^ok: heddle\.config\.ts/)
  else assert.match(stderr, /^heddle: heddle\.config\.ts: this Node .* cannot read TypeScript; use .*\n$/)
  assert.equal(code, stdout === '' ? 2 : 0)
})

test('a module can export a custom balancer and a promise of options', async (t) => {
  const source = `
    const balancer = { name: 'first', pick: ([first]) => first }
    export default Promise.resolve({ target: '${target}', balancer, listen: 0 })`
  const { stdout } = await run(t, ['check', 'my.mjs'], directory(t, { 'my.mjs': source }))
  assert.equal(stdout, 'ok: my.mjs: 1 group, 1 backend, 0 routes, listening on *:0\n')
})

test('two files in the directory are rejected', async (t) => {
  const cwd = directory(t, { 'heddle.config.json': json({ target }), 'heddle.config.mjs': 'export default {}' })
  const { code, stderr } = await run(t, [], cwd)
  assert.equal(stderr, 'heddle: found heddle.config.json and heddle.config.mjs; say which with --config\n')
  assert.equal(code, 2)
})

test('an unreadable or invalid file is reported in one line', async (t) => {
  const cwd = directory(t, {
    'broken.json': '{\n  "target"\n  "listen": 1\n}',
    'list.json': '[]',
    'throws.mjs': "throw new Error('not today')",
    'empty.mjs': 'export const target = 1',
    'x.yaml': 'target: x',
  })
  const cases: [file: string, code: number, message: RegExp][] = [
    ['none.json', 1, /^heddle: cannot read none\.json: ENOENT.*\n$/],
    ['.', 1, /^heddle: cannot read \.: EISDIR.*\n$/],
    ['broken.json', 2, /^heddle: broken\.json is not JSON: .*\n$/],
    ['list.json', 2, /^heddle: list\.json holds no configuration: it must be an object.*\n$/],
    ['throws.mjs', 2, /^heddle: throws\.mjs cannot be loaded: not today\n$/],
    ['empty.mjs', 2, /^heddle: empty\.mjs holds no configuration: its default export must be an object.*\n$/],
    ['x.yaml', 2, /^heddle: x\.yaml: a configuration file ends in .*\n$/],
  ]
  await Promise.all(
    cases.map(async ([file, code, message]) => {
      const result = await run(t, ['--config', file], cwd)
      assert.match(result.stderr, message)
      assert.equal(result.code, code)
    }),
  )
})

test('flags override the file', async (t) => {
  const cwd = directory(t, {
    'heddle.config.json': json({
      target: 'ftp://wrong',
      balancer: 'wrong',
      listen: 'wrong',
      threads: 9,
      log: { level: 'wrong' },
    }),
  })
  const flags = ['--backend', 'http://a', '--backend', 'http://b', '--balancer', 'random', '--listen', '7000']
  const { code, stdout, stderr } = await run(t, ['check', ...flags, '--threads', '1', '--log-level', 'error'], cwd)
  assert.equal(stderr, '')
  assert.equal(stdout, 'ok: heddle.config.json: 1 group, 2 backends, 0 routes, listening on *:7000\n')
  assert.equal(code, 0)
})

test('option names like toString are unknown as well', async (t) => {
  const cwd = directory(t, {
    'heddle.config.json': `{ "target": "${target}", "toString": 1, "log": { "constructor": 1 } }`,
  })
  const { code, stderr } = await run(t, ['check'], cwd)
  assert.equal(code, 2)
  assert.match(stderr, /toString is unknown/)
  assert.match(stderr, /log\.constructor is unknown/)
})
