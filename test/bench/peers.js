import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const FOLDER = fileURLToPath(new URL('.', import.meta.url))

/** Installs the peers as package-lock.json here has them, on first use and after a change of the lock. */
export function installPeers() {
  if (modifiedMs('node_modules/.package-lock.json') >= modifiedMs('package-lock.json')) return
  console.log('Installing the peers: npm ci --prefix test/bench')
  // The npm that runs us, where one does: it is the one that works with this node.
  const cli = process.env.npm_execpath
  const [command, ...first] = cli === undefined ? ['npm'] : [process.execPath, cli]
  const { status, error } = spawnSync(command, [...first, 'ci', '--prefix', FOLDER, '--no-audit', '--no-fund'], {
    cwd: FOLDER,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: 300_000,
  })
  if (status !== 0)
    throw new Error('the peers could not be installed with npm ci --prefix test/bench', { cause: error })
}

function modifiedMs(name) {
  return statSync(new URL(name, import.meta.url), { throwIfNoEntry: false })?.mtimeMs ?? 0
}
