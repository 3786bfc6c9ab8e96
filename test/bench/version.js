import { readFileSync } from 'node:fs'

/** The installed version of a peer. Read from disk: not every package exports its package.json. */
export const versionOf = (name) => versionIn(`./node_modules/${name}/package.json`)

/** heddle's own. */
export const ownVersion = () => versionIn('../../package.json')

const versionIn = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version
