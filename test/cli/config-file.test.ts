import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { CommandError } from '../../src/cli/command-error.ts'
import { readConfigFile } from '../../src/cli/config-file.ts'
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
    for (const line of [
      '1:54: backends[0].weight is -1',
      '1:78: routes[0].group is',
      '1:87: listn is unknown; did you mean listen?',
      '1:106: listen is "x"',
      '1:117: log.lvl is unknown',
    ]) {
      assert.ok(stderr.includes(`\n  heddle.config.json:${line}`), line)
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

test('an unreadable or invalid file is reported in one line, exit code 2', async (t) => {
  const cwd = directory(t, {
    'broken.json': '{\n  "target"\n  "listen": 1\n}',
    'twice.json': '{\n  "target": "http://a",\n  "target": "http://b"\n}',
    'bare.json': '{ "target": http }',
    'open.json': '{ "target": "http://a"',
    'list.json': '[]',
    'twice.yaml': 'target: http://a\ntarget: http://b\n',
    'tab.yaml': 'log:\n\taccess: off\n',
    'two.yaml': 'target: http://a\n---\ntarget: http://b\n',
    'alias.yaml': 'target: *nobody\n',
    'text.yaml': 'hello\n',
    'syntax.mjs': 'export default { listen: 1,, }',
    'throws.mjs': "throw new Error('not today')",
    'empty.mjs': 'export const target = 1',
    'x.toml': 'target = 1',
  })
  const cases: [file: string, message: RegExp][] = [
    ['none.json', /^cannot read none\.json: ENOENT.*$/],
    ['folder.json', /^cannot read folder\.json: EISDIR.*$/],
    ['broken.json', /^the file has mistakes:\n {2}broken\.json:3:3: Missing , .*\n {2}broken\.json:3:3: .*$/],
    ['twice.json', /^twice\.json:3:3: this name is given twice$/],
    ['bare.json', /^bare\.json:1:13: Unresolved plain scalar "http"$/],
    ['open.json', /^open\.json:1:23: .*must end with a \}$/],
    ['list.json', /^list\.json holds no configuration: it must be an object.*$/],
    ['twice.yaml', /^twice\.yaml:2:1: this name is given twice$/],
    ['tab.yaml', /^tab\.yaml:2:1: YAML is indented by spaces, not by tabs$/],
    ['two.yaml', /^two\.yaml:2:1: a configuration file has one document.*$/],
    ['alias.yaml', /^alias\.yaml:1:1: Unresolved alias .*: nobody$/],
    ['text.yaml', /^text\.yaml holds no configuration: it must have options by name.*$/],
    ['syntax.mjs', /^syntax\.mjs cannot be loaded: Unexpected token ','; node syntax\.mjs shows the line$/],
    ['throws.mjs', /^throws\.mjs cannot be loaded: not today$/],
    ['empty.mjs', /^empty\.mjs holds no configuration: its default export must be an object.*$/],
    ['x.toml', /^x\.toml: a configuration file ends in .*$/],
  ]
  mkdirSync(join(cwd, 'folder.json'))
  for (const [file, message] of cases) {
    await assert.rejects(readConfigFile(file, cwd), (error) => {
      assert.ok(error instanceof CommandError)
      assert.match(error.message, message)
      assert.equal(error.exitCode, 2, file)
      return true
    })
  }
})

test('YAML, and JSON with comments, tabs and commas at the end, are read', async (t) => {
  const files = {
    'heddle.config.yaml': `# comment\nbackends:\n  - &b { url: '${target}' }\nlisten: [127.0.0.1:8080, 8081]\n`,
    'heddle.config.yml': `target: ${target}\nlisten: [127.0.0.1:8080, 8081]\n`,
    'heddle.config.jsonc': `{\n\t// one\n\t"target": "${target}", /* two\n*/ "listen": ["127.0.0.1:8080", 8081],\n}`,
    'heddle.config.json': `{ "target": "${target}", // "x": 1\n "listen": ["127.0.0.1:8080", 8081] }`,
  }
  for (const [name, content] of Object.entries(files)) {
    const { stdout, stderr } = await run(t, ['check'], directory(t, { [name]: content }))
    assert.equal(stderr, '')
    assert.equal(stdout, `ok: ${name}: 1 group, 1 backend, 0 routes, listening on 127.0.0.1:8080, *:8081\n`)
  }
})

test('each mistake has its place in YAML, through anchors as well', async (t) => {
  const yaml = `backends:
  - url: ${target}
    tls: &tls { sni: a }
  - url: http://b
    weight: heavy
groups:
  "a b": { target: { url: http://c, tls: *tls }, balancer: bst }
`
  const { code, stderr } = await run(t, ['check', 'x.yaml'], directory(t, { 'x.yaml': yaml }))
  assert.equal(code, 2)
  for (const line of [
    '3:17: backends[0].tls.sni is unknown',
    '3:17: groups["a b"].target.tls.sni is unknown',
    "5:13: backends[1].weight is 'heavy'",
    '7:3: groups["a b"] is not a valid name',
    `7:60: groups["a b"].balancer is 'bst'`,
  ]) {
    assert.ok(stderr.includes(`\n  x.yaml:${line}`), `${line} in ${stderr}`)
  }
  assert.match(stderr, /example: groups: \{ "api": /)
})

test('a mistake in a module has its path only', async (t) => {
  const cwd = directory(t, { 'x.mjs': `export default { target: { url: '${target}', weight: -1 } }` })
  const { stderr } = await run(t, ['check', 'x.mjs'], cwd)
  assert.equal(
    stderr,
    `heddle: One option is wrong:
  x.mjs: target.weight is -1
    allowed: a number from 0 to 1000000
    example: weight: 2
`,
  )
})

test('what is allowed is printed once for all mistakes of a kind', async (t) => {
  const backend = (port: number, weight: number) => ({ url: `http://127.0.0.1:${port}`, weight })
  const cwd = directory(t, { 'x.json': json({ backends: [backend(1, -1), backend(2, -2), backend(3, 1e9)] }) })
  const { stderr } = await run(t, ['check', 'x.json'], cwd)
  assert.match(
    stderr,
    /^heddle: 3 options are wrong:\n(?: {2}x\.json:1:\d+: backends\[\d\]\.weight is .*\n){3} {4}allowed: .*\n {4}example: "weight": 2\n$/,
  )
})

// One wrong option on each line.
const WRONG = {
  'wrong.json': `{
"backends": [
"ftp://x",
{
"url": "http://127.0.0.1:1",
"weight": -1,
"tls": {
"rejectUnauthorized": "no"
}
}
],
"balancer": "bst",
"timeouts": {
"connect": -1
},
"retry": 5,
"limits": {
"maxHeaders": "many"
},
"trustedProxies": "everybody",
"threads": 0,
"listen": "nowhere",
"log": {
"level": "loud"
}
}`,
  'wrong.yaml': `backends:
  - "${target}"
balancer: bst
timeouts:
  connect: -1
groups:
  api:
    backends: 7
routes:
  - path: 5
threads: 0
listen: nowhere
`,
}

for (const [name, text] of Object.entries(WRONG)) {
  test(`examples can be pasted into the file (${name})`, async (t) => {
    const cwd = directory(t, { [name]: text })
    const { stderr } = await run(t, ['check', name], cwd)
    const lines = text.split('\n')
    const faults = [...stderr.matchAll(/^ {2}\S+?:(\d+):\d+: .*\n {4}allowed: .*\n {4}example: (.*)$/gm)]
    assert.equal(`heddle: ${faults.length} options are wrong:`, stderr.split('\n')[0])
    for (const [, number, example] of faults) {
      const at = Number(number) - 1
      const line = lines[at] ?? ''
      lines[at] = `${/^\s*(?:- )?/.exec(line)?.[0]}${example}${line.endsWith(',') ? ',' : ''}`
    }
    const pasted = lines.join('\n')
    const { code, stderr: left } = await run(t, ['check', name], directory(t, { [name]: pasted }))
    assert.equal(code, 0, `${left}\n${pasted}`)
  })
}

test('a file of data cannot hold code, and says what can', async (t) => {
  const cwd = directory(t, { 'x.json': json({ target, executor: {}, observers: [1], clock: 1 }) })
  const { stderr } = await run(t, ['check', 'x.json'], cwd)
  assert.match(stderr, /x\.json:1:\d+: executor can only be given by code\n {4}allowed: threads, in its place\n/)
  assert.match(
    stderr,
    /clock can only be given by code\n {4}allowed: an object with functions, in a heddle\.config\.mjs\n/,
  )
  assert.doesNotMatch(stderr, /example/)
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
