import type { OptionFault } from '../index.ts'
import { portOf } from '../runtime/port.ts'
import { fault, isShown, unknown } from './fault.ts'
import { type Address, listen, PROTOCOLS } from './file-options.ts'
import type { PemFiles, TlsSettings } from './pem-files.ts'

/** An address to listen on, checked. */
export interface Listener extends Address {
  readonly tls?: TlsSettings
  readonly protocols?: readonly Protocol[]
  /** Sends every request to the first listener with `tls`. */
  readonly redirect?: 'https'
}

/** Most addresses, as `workerThreads()` allows. */
const MOST = 64
const KEYS = ['port', 'host', 'tls', 'protocols', 'redirect']
type Protocol = (typeof PROTOCOLS)[number]
const TLS_KEYS = ['cert', 'key']
const TLS_EXAMPLE = { cert: 'certs/site.pem', key: 'certs/site-key.pem' }

/**
 * Reads the option `listen`: one address or a list of them.
 * @param path of the option, or the name of the flag.
 * @param faults gets what is wrong.
 */
export function readListeners(value: unknown, path: string, files: PemFiles, faults: OptionFault[]): Listener[] {
  const isList = Array.isArray(value)
  const all: unknown[] = isList ? value : [value]
  if (all.length === 0) faults.push(fault(path, 'is an empty list', value, listen.allowed, listen.example))
  if (all.length > MOST) {
    faults.push(fault(path, `has ${all.length} addresses`, value, `at most ${MOST} addresses`, listen.example))
    return []
  }
  // A flag has no index.
  const pathAt = (index: number): string => (isList && !path.startsWith('--') ? `${path}[${index}]` : path)
  const read = all.map((each, index) => readListener(each, pathAt(index), files, faults))
  const known = read.filter((each) => each !== null)
  for (const [index, each] of read.entries()) {
    if (each === null) continue
    const same = read.slice(0, index).findIndex((other) => other !== null && isSameAddress(each, other))
    if (same >= 0) {
      const message = `is the same address as ${pathAt(same)}`
      faults.push(fault(pathAt(index), message, all[index], listen.allowed, listen.example))
    }
  }
  const redirects = known.some(({ redirect }) => redirect !== undefined)
  // With a fault in it, a listener with TLS is not among the known ones.
  if (redirects && known.length === all.length && !known.some(({ tls }) => tls !== undefined)) {
    const message = 'redirects to https, but no listener has tls'
    const example = [
      { port: 443, tls: TLS_EXAMPLE },
      { port: 80, redirect: 'https' },
    ]
    faults.push(fault(path, message, value, 'a list in which another listener has tls', example))
  }
  return known
}

function readListener(value: unknown, path: string, files: PemFiles, faults: OptionFault[]): Listener | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const address = listen.read(value)
    if (address === undefined) faults.push(fault(path, isShown(value), value, listen.allowed, listen.example))
    return address ?? null
  }
  const before = faults.length
  const { port, host, tls, protocols, redirect } = value as Record<string, unknown>
  refuseUnknown(value, KEYS, path, faults)
  const number = portOf(port)
  if (number === null) {
    const message = port === undefined ? 'is missing' : isShown(port)
    faults.push(fault(`${path}.port`, message, port, 'a port from 0 (any free one) to 65535', 8443))
  }
  if (host !== undefined && (typeof host !== 'string' || host === '')) {
    faults.push(fault(`${path}.host`, isShown(host), host, 'an address of this machine', '127.0.0.1'))
  }
  if (redirect !== undefined && redirect !== 'https') {
    faults.push(fault(`${path}.redirect`, isShown(redirect), redirect, "'https'", 'https'))
  }
  if (redirect !== undefined && tls !== undefined) {
    const allowed = 'tls, or redirect, but not both'
    faults.push(fault(`${path}.redirect`, 'is set beside tls', redirect, allowed, 'https'))
  }
  if (protocols !== undefined && !areProtocols(protocols)) {
    const allowed = "a list of 'h2' and 'http/1.1'"
    faults.push(fault(`${path}.protocols`, isShown(protocols), protocols, allowed, PROTOCOLS))
  }
  if (protocols !== undefined && redirect !== undefined) {
    const allowed = 'protocols, or redirect, but not both'
    faults.push(fault(`${path}.protocols`, 'is set beside redirect', protocols, allowed, PROTOCOLS))
  }
  const settings = tls === undefined ? undefined : readTls(tls, `${path}.tls`, files, faults)
  if (faults.length > before || number === null) return null
  return {
    port: number,
    ...(typeof host === 'string' && host !== '*' && { host }),
    ...(settings !== undefined && { tls: settings }),
    ...(areProtocols(protocols) && { protocols }),
    ...(redirect === 'https' && { redirect }),
  }
}

function readTls(tls: unknown, path: string, files: PemFiles, faults: OptionFault[]): TlsSettings | undefined {
  if (typeof tls !== 'object' || tls === null || Array.isArray(tls)) {
    faults.push(fault(path, isShown(tls), tls, 'an object with cert, key', TLS_EXAMPLE))
    return undefined
  }
  refuseUnknown(tls, TLS_KEYS, path, faults)
  const { cert, key } = tls as Record<string, unknown>
  if (cert !== undefined || key !== undefined) return files.read({ cert, key }, path)
  faults.push(fault(path, 'has neither cert nor key', tls, 'an object with cert, key', TLS_EXAMPLE))
  return undefined
}

function areProtocols(value: unknown): value is readonly Protocol[] {
  return Array.isArray(value) && value.length > 0 && value.every((one) => PROTOCOLS.includes(one))
}

function isSameAddress(one: Address, other: Address): boolean {
  return one.port !== 0 && one.port === other.port && one.host === other.host
}

function refuseUnknown(value: object, known: readonly string[], path: string, faults: OptionFault[]): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue
    faults.push(fault(`${path}.${key}`, unknown(key, known), undefined, known.join(', '), null))
  }
}
