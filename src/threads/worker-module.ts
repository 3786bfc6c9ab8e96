import { existsSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'

/** Where this file is in the package. In a bundle `import.meta.url` is that of the bundle, or undefined (CommonJS). */
const OWN_PLACE = '/threads/worker-module.js'

/** The worker's, from here. Not written where it is used: webpack would copy the file, and not what it imports. */
const WORKER = '../worker.js'

/**
 * The module that every thread runs, as a URL, so that this room does not import the composition root.
 * @param given the option `module`.
 * @throws Error if it is not given, and this code is in a bundle.
 */
export function workerModule(given: string | URL | undefined): URL {
  if (given !== undefined) return new URL(moduleUrl(given))
  const here: string | undefined = import.meta.url
  if (here?.endsWith(OWN_PLACE)) {
    const url = new URL(WORKER, here)
    if (existsSync(url)) return url
  }
  throw new Error(
    "threads cannot start: heddle's own file worker.js is not there, since this code is in a bundle; build 'heddle/worker' as a " +
      "second entry of the bundle, and name its file: workerThreads({ module: new URL('./worker.js', import.meta.url) })",
  )
}

/** The URL of a path, relative to the current folder; a URL stays as it is. A drive letter is not a scheme. */
export function moduleUrl(url: string | URL): string {
  const isPath = typeof url === 'string' && (isAbsolute(url) || !URL.canParse(url))
  return isPath ? pathToFileURL(url).href : String(url)
}
