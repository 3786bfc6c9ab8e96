import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { describeError } from '../runtime/describe-error.ts'

/**
 * Checks TLS settings before anything uses them.
 * @param name of the settings, in the message.
 * @throws TypeError that says what is wrong. OpenSSL's own text for the path of a file, "no start line", says neither what nor where.
 */
export function assertSecureContext(name: string, options: SecureContextOptions): void {
  for (const key of ['cert', 'key', 'ca'] as const) {
    if ([options[key]].flat().some(isNotPem)) {
      throw new TypeError(
        `${name}: ${key} is text that is not PEM; if it is the path of a file, give readFileSync(path)`,
      )
    }
  }
  try {
    createSecureContext(options)
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    const error = new TypeError(`${name}: node cannot use these settings: ${describeError(thrown)}`, { cause: thrown })
    throw Object.assign(error, { code })
  }
}

function isNotPem(value: unknown): boolean {
  return typeof value === 'string' && !value.includes('-----BEGIN ')
}
