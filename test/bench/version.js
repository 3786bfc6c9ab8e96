import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'

/** The installed version of a package. Read from disk: not every package exports its package.json. */
export const versionOf = (name) => versionIn(findPackageJSON(name, import.meta.url))

/** heddle's own. */
export const ownVersion = () => versionIn(new URL('../../package.json', import.meta.url))

const versionIn = (path) => JSON.parse(readFileSync(path, 'utf8')).version
