import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Where `name` is installed, or null. Debian keeps servers in /usr/sbin, which is not on everybody's PATH. */
export function findTool(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  return folders.map((folder) => join(folder, name)).find(isExecutable) ?? null
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
