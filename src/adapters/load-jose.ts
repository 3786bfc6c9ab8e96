import { createRequire } from 'node:module'
import { join } from 'node:path'
import type * as Jose from 'jose'

/**
 * The package jose, which the application installs. Not an import: that would fail with node's message, and without our own.
 * @throws Error if it cannot be loaded.
 */
export function loadJose(): typeof Jose {
  // A bundle in CommonJS has no URL of its own.
  const here: string | undefined = import.meta.url
  try {
    return createRequire(here ?? join(process.cwd(), 'index.js'))('jose') as typeof Jose
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code !== 'MODULE_NOT_FOUND') throw new Error(`jwt: the package jose cannot be loaded: ${message}`, { cause })
    throw new Error('jwt: the package jose is not installed; run `npm install jose` (version 5 or later)', { cause })
  }
}
