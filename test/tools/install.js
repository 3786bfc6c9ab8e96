import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * Installs the packages of a folder that has a package.json and a lock of its own, on first use and after a change of the lock.
 * @param {URL} folder with a slash at its end.
 */
export function install(folder) {
  if (
    modifiedMs(new URL('node_modules/.package-lock.json', folder)) >= modifiedMs(new URL('package-lock.json', folder))
  )
    return
  const path = fileURLToPath(folder)
  console.log(`Installing: npm ci --prefix ${path}`)
  // The npm that runs us, where one does: it is the one that works with this node.
  const cli = process.env.npm_execpath
  const [command, ...first] = cli === undefined ? ['npm'] : [process.execPath, cli]
  const { status, error } = spawnSync(command, [...first, 'ci', '--prefix', path, '--no-audit', '--no-fund'], {
    cwd: path,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: 300_000,
  })
  if (status !== 0) throw new Error(`npm ci --prefix ${path} failed`, { cause: error })
}

const modifiedMs = (file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
