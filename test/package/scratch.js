// Scratch projects outside the repository, with the packed tarball installed by npm, as a user has it.
import { execFile, spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const execute = promisify(execFile)

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

/** The version of a development dependency of the repository. */
const ours = (name) => `${name}@${devDependencies[name]}`

/** What a user of today has. The second one has the oldest compiler, and the types of node that it can read. */
const PROJECTS = {
  today: [
    ...['express', 'express-session', 'koa', 'ws'].flatMap((name) => [ours(name), ours(`@types/${name}`)]),
    ...[
      '@types/node',
      'jose',
      'acme-client',
      'pino',
      'fastify',
      'hono',
      '@hono/node-server',
      '@grpc/grpc-js',
      '@grpc/proto-loader',
    ].map(ours),
    ...['@nestjs/common', '@nestjs/core', '@nestjs/platform-express', 'webpack', 'webpack-dev-server'].map(ours),
    ...['esbuild', 'vite', 'vitest'].map(ours),
    `typescript7@npm:typescript@${devDependencies.typescript}`,
    'typescript@5',
    'rollup@4',
    '@rollup/plugin-node-resolve@16',
    '@rollup/plugin-commonjs@29',
    '@rollup/plugin-json@6',
    'jest@30',
    '@babel/plugin-transform-modules-commonjs@7',
  ],
  oldest: ['typescript@5.0', '@types/node@20.14'],
}

/** Packs the package and installs it. @returns the folders, and a function that removes them. */
export async function scratchProjects() {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'heddle-package-')))
  const packed = await npm(ROOT, 'pack', '--json', '--ignore-scripts', '--pack-destination', root)
  const tarball = join(root, JSON.parse(packed)[0].filename)
  const install = async ([name, packages]) => {
    const folder = join(root, name)
    write(join(folder, 'package.json'), JSON.stringify({ name: `scratch-${name}`, private: true }))
    await npm(folder, 'install', '--no-audit', '--no-fund', '--prefer-offline', tarball, ...packages)
    return [name, folder]
  }
  // One after another: npm's cache is one.
  const folders = {}
  for (const project of Object.entries(PROJECTS)) Object.assign(folders, Object.fromEntries([await install(project)]))
  return { ...folders, remove: () => rmSync(root, { recursive: true, force: true }) }
}

/** Writes a file, with its folder. @returns its path. */
export function write(file, text) {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  return file
}

/** A new folder in a scratch project, with fixtures in it: by their names, or as `[name, name in the folder]`. */
export function folderWith(project, fixtures) {
  const folder = mkdtempSync(join(project, 'work-'))
  for (const fixture of fixtures) {
    const [name, as] = typeof fixture === 'string' ? [fixture, fixture] : fixture
    cpSync(join(ROOT, 'test/package/fixtures', name), join(folder, as), { recursive: true })
  }
  return folder
}

/** A copy of a folder where no node_modules is near. */
export function away(folder) {
  const copy = mkdtempSync(join(folder, '../../../away-'))
  cpSync(folder, copy, { recursive: true })
  return copy
}

/** Runs a script with this Node. */
export async function node(cwd, ...args) {
  return run(process.execPath, cwd, ...args)
}

/** Runs a tool that is installed in a project. */
export async function tool(project, script, ...args) {
  return run(process.execPath, project, join(project, 'node_modules', script), ...args)
}

function npm(cwd, ...args) {
  return run('npm', cwd, ...args)
}

/** Runs a program. @returns what it has written; an error has that, too. */
export function run(command, cwd, ...args) {
  return runWith({}, command, cwd, ...args)
}

/** The same with more variables in its environment. */
export async function runWith(variables, command, cwd, ...args) {
  try {
    const { stdout } = await execute(command, args, {
      cwd,
      encoding: 'utf8',
      maxBuffer: 1 << 26,
      timeout: 180_000,
      env: { ...ENV, ...variables },
    })
    return stdout
  } catch (error) {
    throw new Error(`${command} ${args.join(' ')} in ${cwd}:\n${error.stdout}${error.stderr}\n${error.message}`)
  }
}

/** Not what a test runner tells its children, and not the repository's own folder of commands. */
const ENV = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:NODE_|npm_)/.test(name)))

/** Starts a program that says where it listens. @returns its URL, and a function that ends it as Ctrl-C does. */
export function start(cwd, ...args) {
  const child = spawn(process.execPath, args, { cwd, env: { ...ENV, PORT: '0' } })
  let output = ''
  const ended = new Promise((resolve) => child.once('close', resolve))
  const url = new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk
      const found = /https?:\/\/\S+:\d+/.exec(output.match(/listening.*/)?.[0] ?? '')
      if (found !== null) resolve(found[0])
    }
    child.stdout.setEncoding('utf8').on('data', read)
    child.stderr.setEncoding('utf8').on('data', read)
    void ended.then((code) => reject(new Error(`${args.at(-1)} ended with ${code}, and did not listen:\n${output}`)))
  })
  const stop = async () => {
    child.kill('SIGTERM')
    return { code: await ended, output }
  }
  return { url, stop }
}
