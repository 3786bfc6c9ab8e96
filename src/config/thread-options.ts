import type { ProxyOptions } from './options.ts'
import { type OptionFault, OptionsError } from './options-error.ts'

/** Options that stay in the thread that creates the proxy. */
const STAYS = new Set(['executor', 'logger', 'accessLog'])

const ALLOWED =
  "plain data, and built-in policies by name ('least-connections'); for anything else, your own module that each thread runs"
const EXAMPLE = "serveModule(new URL('./server.js', import.meta.url), { listen: 8080 })"

/**
 * The options as plain data, which can be sent to a thread.
 * @throws {@link OptionsError} that names the options that cannot be sent.
 */
export function threadOptions(options: ProxyOptions): Record<string, unknown> {
  const faults: OptionFault[] = []
  const result: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(options)) {
    if (!STAYS.has(key)) result[key] = plain(value, key, faults)
  }
  if (faults.length > 0) throw new OptionsError(faults)
  return result
}

function plain(value: unknown, path: string, faults: OptionFault[]): unknown {
  if (typeof value !== 'object' || value === null) {
    if (typeof value === 'function' || typeof value === 'symbol') faults.push(fault(path, `is a ${typeof value}`))
    return value
  }
  if (value instanceof URL) return value.href
  // Certificates and keys are in PEM, which is text.
  if (Buffer.isBuffer(value)) return value.toString()
  if (Array.isArray(value)) return value.map((item, index) => plain(item, `${path}[${index}]`, faults))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) {
    faults.push(fault(path, `is an instance of ${value.constructor?.name || 'a class'}`))
    return value
  }
  const hasFunction = Object.values(value).some((item) => typeof item === 'function')
  if (hasFunction) {
    faults.push(fault(path, 'is an object with functions'))
    return value
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item, `${path}.${key}`, faults)]))
}

function fault(path: string, what: string): OptionFault {
  return {
    path,
    message: `${what} and cannot be sent to a thread`,
    value: undefined,
    allowed: ALLOWED,
    example: EXAMPLE,
  }
}
