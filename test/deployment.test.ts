import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { mockBackend } from 'heddle/testing'
import { WebSocket } from 'ws'
import { parse as parseYaml } from 'yaml'
import { DEFAULTS } from '../src/cli/file-options.ts'
import { type Block, blocksOf } from './support/blocks.ts'
import { freePort } from './support/ports.ts'
import { PACKAGE_ROOT, startScript } from './support/script.ts'
import { webSocketBackend } from './support/upgrade-backends.ts'

/* "In production" of docs/recipes.md: what its Dockerfile, unit, nginx and Kubernetes configuration say, done as far as it can be here. */

const BLOCKS = blocksOf('docs/recipes.md')
/** `drainTimeoutMs`, seconds. */
const DRAIN = 10

function blockOf(is: (block: Block) => boolean): string {
  const [block, ...others] = BLOCKS.filter(is)
  assert.ok(block !== undefined && others.length === 0, 'exactly one block')
  return block.text
}
const inLanguage = (language: string) => blockOf((block) => block.language === language)
const configuration = (name: string) => blockOf(({ comment }) => comment === `config: ${name}`)
const hasTool = (name: string, ...args: string[]) =>
  spawnSync(name, args).status === 0 ? false : `${name} is not installed`

/** A folder that has heddle installed, and the files given. */
function project(t: TestContext, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-deployment-'))
  t.after(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'node_modules/.bin'), { recursive: true })
  symlinkSync(PACKAGE_ROOT, join(folder, 'node_modules/heddle'), 'junction')
  symlinkSync('../heddle/dist/src/cli/main.js', join(folder, 'node_modules/.bin/heddle'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

const withPorts = (text: string, ports: Readonly<Record<string, number>>) =>
  text.replace(/\b(?:8080|300\d)\b/g, (port) => String(ports[port] ?? port))

test('the command, the health check and the signal of the Dockerfile work together', async (t) => {
  const port = await freePort()
  const backend = await mockBackend({ body: 'hello' })
  t.after(() => backend.close())
  const ports = { 8080: port, 3001: backend.port, 3002: backend.port }
  const dockerfile = withPorts(inLanguage('dockerfile'), ports)
  const config = withPorts(configuration('production'), ports).replace(/, '[^']*'\]/, ']')
  const folder = project(t, { 'heddle.config.mjs': config })
  const [health, command] = Array.from(dockerfile.matchAll(/^ *CMD (\[.*\])$/gm), ([, list = '']) => JSON.parse(list))
  assert.match(dockerfile, /^USER node$/m)
  assert.equal(health[0], 'node')
  const isHealthy = (): boolean => spawnSync(process.execPath, health.slice(1)).status === 0
  assert.equal(isHealthy(), false)

  const script = startScript(t, command, folder)
  await started(port, script.exit())
  assert.equal(isHealthy(), true)
  assert.equal(await (await fetch(`http://127.0.0.1:${port}/a`)).text(), 'hello')
  script.child.kill('SIGTERM')
  const { code, stdout } = await script.exit()
  assert.equal(code, 0)
  assert.match(stdout, /"target":"\/a"/)
  assert.equal(isHealthy(), false)
})

/** Resolves when something listens there. Rejects if the program has ended before that. */
async function started(port: number, end: Promise<unknown>): Promise<void> {
  let ended: unknown
  void end.then((how) => {
    ended = how
  })
  for (;;) {
    assert.equal(ended, undefined)
    const isUp = await fetch(`http://127.0.0.1:${port}/healthz`).then(
      () => true,
      () => false,
    )
    if (isUp) return
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('the systemd unit is right', { skip: hasTool('systemd-analyze', '--version') }, (t) => {
  const unit = inLanguage('ini')
  const folder = project(t, { 'heddle.config.json': '{ "target": "http://127.0.0.1:3001" }' })
  const file = join(folder, 'heddle.service')
  // Its paths are those of a machine on which it is installed.
  writeFileSync(file, unit.replaceAll('/usr/bin/node', process.execPath).replaceAll('/srv/gateway', folder))
  const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' })
  // It also reports on units of this machine.
  const complaints = (stdout + stderr).split('\n').filter((line) => line.includes('heddle.service'))
  assert.deepEqual(complaints, [])
  assert.equal(status, 0, stderr)
  assert.ok(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]) > DRAIN)

  const checked = spawnSync(process.execPath, ['node_modules/.bin/heddle', 'check'], { cwd: folder, encoding: 'utf8' })
  assert.equal(checked.status, 0, checked.stderr)
})

test('an invalid configuration ends the command with the status that the unit does not restart', (t) => {
  const folder = project(t, { 'heddle.config.json': '{ "target": 1 }' })
  const { status } = spawnSync(process.execPath, ['node_modules/.bin/heddle'], { cwd: folder })
  assert.match(inLanguage('ini'), new RegExp(`^RestartPreventExitStatus=${status}$`, 'm'))
})

test('nginx in front: the addresses of clients, and WebSocket', { skip: hasTool('nginx', '-v') }, async (t) => {
  const [front, port] = [await freePort(), await freePort()]
  const backend = await mockBackend()
  const sockets = await webSocketBackend()
  t.after(() => Promise.all([backend.close(), sockets.stop()]))
  const config = withPorts(configuration('nginx'), { 8080: port, 3001: backend.port })
  const withChat = JSON.stringify({
    ...JSON.parse(config),
    target: undefined,
    groups: { pages: { target: backend.url }, chat: { target: sockets.url } },
    routes: [
      { path: '/', group: 'pages' },
      { path: '/chat', group: 'chat' },
    ],
  })
  const folder = project(t, { 'heddle.config.json': withChat })
  const nginxConfig = `
    daemon off;
    pid ${folder}/nginx.pid;
    error_log ${folder}/error.log;
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join('\n')}
      ${withPorts(inLanguage('nginx'), { 8080: port }).replace('listen 80;', `listen 127.0.0.1:${front};`)}
    }`
  writeFileSync(join(folder, 'nginx.conf'), nginxConfig)
  const script = startScript(t, ['node_modules/.bin/heddle'], folder)
  await started(port, script.exit())
  const nginx = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')])
  const ended = once(nginx, 'close')
  t.after(async () => {
    nginx.kill('SIGTERM')
    await ended
  })
  await started(front, ended)

  for (let i = 0; i < 5; i++) {
    const headers = { 'X-Forwarded-For': '203.0.113.7', 'X-Forwarded-Proto': 'https' } // forged: nginx replaces them
    await (await fetch(`http://127.0.0.1:${front}/a`, { headers })).text()
  }
  const asked = backend.requests.filter(({ path }) => path === '/a')
  assert.equal(asked.length, 5)
  for (const request of asked) {
    assert.match(request.header('x-forwarded-for') ?? '', /^127\.0\.0\.1, 127\.0\.0\.1$/)
    assert.equal(request.header('x-forwarded-proto'), 'http')
  }
  const socket = new WebSocket(`ws://127.0.0.1:${front}/chat`)
  await once(socket, 'open')
  socket.send('hello')
  assert.match(String((await once(socket, 'message'))[0]), /hello/)
  socket.terminate()
  script.child.kill('SIGTERM')
  assert.equal((await script.exit()).code, 0)
})

test('the pod of Kubernetes outlives its requests, and asks for what the Dockerfile serves', () => {
  const { spec } = parseYaml(inLanguage('yaml')).spec.template
  const [container] = spec.containers
  const preStop = container.lifecycle.preStop.sleep.seconds
  assert.ok(spec.terminationGracePeriodSeconds > preStop + DRAIN)
  assert.equal(container.ports[0].containerPort, DEFAULTS.port)
  for (const probe of [container.readinessProbe, container.livenessProbe]) {
    assert.deepEqual(probe.httpGet, { path: '/healthz', port: container.ports[0].name })
    assert.ok(configuration('production').includes(`'${probe.httpGet.path}'`))
  }
})
