import { readFileSync } from 'node:fs'

/** The installed version of a peer. Read from disk: not every package exports its package.json. */
export function versionOf(name) {
  const url = new URL(`./node_modules/${name}/package.json`, import.meta.url)
  return JSON.parse(readFileSync(url, 'utf8')).version
}
