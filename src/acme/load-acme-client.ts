import { createRequire } from 'node:module'
import { join } from 'node:path'
import type * as AcmeClient from 'acme-client'

/**
 * The package acme-client, which the application installs. Not an import: that would fail with node's message, and without our own.
 * @throws Error if it cannot be loaded.
 */
export function loadAcmeClient(): typeof AcmeClient {
  // A bundle in CommonJS has no URL of its own.
  const here: string | undefined = import.meta.url
  try {
    return createRequire(here ?? join(process.cwd(), 'index.js'))('acme-client') as typeof AcmeClient
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code !== 'MODULE_NOT_FOUND')
      throw new Error(`acme: the package acme-client cannot be loaded: ${message}`, { cause })
    throw new Error('acme: the package acme-client is not installed; run `npm install acme-client` (version 5.4)', {
      cause,
    })
  }
}
