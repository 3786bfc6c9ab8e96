import type { SecureContextOptions } from 'node:tls'
import { inspect } from 'node:util'
import type { CertificateProvider } from '../contracts/certificate-provider.ts'
import type { ListenOptions, ListenTls } from '../contracts/executor.ts'
import { trustMatcher } from '../headers/trust.ts'
import { LONGEST_MS } from '../runtime/clock.ts'
import { didYouMean } from '../runtime/nearest.ts'
import { portOf } from '../runtime/port.ts'
import { assertSecureContext } from './secure-options.ts'

/** The option's check, and what it allows. */
type Rule = readonly [allowed: string, isAllowed: (value: unknown) => boolean]

const PORT = 'a whole number from 0 (any free port) to 65535'

const RULES: Readonly<Record<keyof ListenOptions, Rule>> = {
  port: [PORT, (value) => portOf(value) !== null],
  host: ["a name or an address, such as '127.0.0.1'", isText],
  path: ['the path of a unix socket', isText],
  backlog: ['a whole number, 1 or more', (value) => Number.isSafeInteger(value) && (value as number) >= 1],
  protocols: ["a list of 'h2' and 'http/1.1', such as ['h2', 'http/1.1']", isProtocols],
  proxyProtocol: [
    "a list of addresses and ranges whose connections begin with a PROXY header, such as ['10.0.0.0/8', 'loopback']",
    isRanges,
  ],
  tls: ["{ certificates }, or options of node's tls.createServer(), such as { key, cert }", isObject],
  fallback: ['a node:http server', (value) => isObject(value) && typeof value.listenerCount === 'function'],
}

/**
 * Returns the place to listen as options. The port is a number, and nothing is `undefined`.
 * @param where a port, its digits, or options.
 * @param names the options that are allowed here.
 * @throws TypeError if it is invalid. Node itself would often listen on any free port then.
 */
export function listenOptions(
  where: number | string | ListenOptions,
  names: readonly (keyof ListenOptions)[] = Object.keys(RULES) as (keyof ListenOptions)[],
): ListenOptions & { readonly port?: number } {
  const allowed = `a port, such as 8080, or an object of ${names.join(', ')}`
  if (typeof where === 'number' || typeof where === 'string') {
    const port = portOf(where)
    if (port === null) throw new TypeError(`listen: it is ${shown(where)}; allowed: ${allowed}. A port is ${PORT}`)
    return { port }
  }
  if (!isObject(where)) throw new TypeError(`listen: it is ${shown(where)}; allowed: ${allowed}`)
  const checked: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(where)) {
    if (!names.includes(key as keyof ListenOptions)) {
      throw new TypeError(`listen: ${key} is unknown${didYouMean(key, names)}; allowed: ${names.join(', ')}`)
    }
    if (value === undefined) continue
    const [what, isAllowed] = RULES[key as keyof ListenOptions]
    if (!isAllowed(value)) throw new TypeError(`listen: ${key} is ${shown(value)}; allowed: ${what}`)
    checked[key] = key === 'port' ? portOf(value) : value
  }
  const { port, path } = checked
  if (port === undefined && path === undefined) {
    const other = names.includes('path') ? ', or a path' : ''
    throw new TypeError(`listen: port is missing; give ${PORT}${other}`)
  }
  if (port !== undefined && path !== undefined) throw new TypeError('listen: port and path are both given; give one')
  if (checked.tls !== undefined) checkTls(checked.tls as Readonly<Record<string, unknown>>)
  return checked
}

/** Node's options that a handshake can get a certificate, or what takes its place, from. */
const SOURCES = ['cert', 'pfx', 'SNICallback', 'secureContext', 'pskCallback']

const MIN_ROTATION_MS = 1000

const TLS_RULES: Readonly<Record<keyof ListenTls, Rule>> = {
  certificates: ["a list of { cert, key } or acme(), such as [{ cert: 'a.pem', key: 'a-key.pem' }]", isCertificates],
  minVersion: ["'TLSv1.2' or 'TLSv1.3'", (value) => value === 'TLSv1.2' || value === 'TLSv1.3'],
  clientAuth: ["{ ca, mode: 'request' or 'require', header? }", isClientAuth],
  reload: ["'watch' or false", (value) => value === 'watch' || value === false],
  ticketRotationMs: [`a whole number of ms, ${MIN_ROTATION_MS} to ${LONGEST_MS}`, isRotation],
}

/** Checks the form; whoever reads the certificates checks these. */
function checkTls(tls: Readonly<Record<string, unknown>>): void {
  const own = Object.keys(TLS_RULES)
  const used = Object.keys(tls).find((key) => own.includes(key) && key !== 'minVersion')
  if (used === undefined) {
    if (!SOURCES.some((key) => tls[key] !== undefined)) {
      throw new TypeError(`listen: tls has no certificate; allowed: ${RULES.tls[0]}`)
    }
    return assertSecureContext('listen: tls', tls as SecureContextOptions)
  }
  if (tls.certificates === undefined) {
    throw new TypeError(`listen: tls.${used} needs tls.certificates; allowed: ${TLS_RULES.certificates[0]}`)
  }
  for (const [key, value] of Object.entries(tls)) {
    const rule = TLS_RULES[key as keyof ListenTls]
    if (rule === undefined) {
      const hint = `${didYouMean(key, own)}; beside certificates there are ${own.slice(1).join(', ')}`
      throw new TypeError(`listen: tls.${key} is unknown${hint}`)
    }
    if (value === undefined || rule[1](value)) continue
    throw new TypeError(`listen: tls.${key} is ${shown(value)}; allowed: ${rule[0]}`)
  }
}

function isCertificates(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && value.every((one) => isCertificate(one) || isProvider(one))
}

/** Whether it provides certificates by itself. */
export function isProvider(value: unknown): value is CertificateProvider {
  return isObject(value) && typeof value.open === 'function'
}

/** Whether it has the form of a `ListenCertificate`. */
export function isCertificate(value: unknown): boolean {
  if (!isObject(value) || !isPem(value.cert) || !isPem(value.key)) return false
  const { names } = value
  const known = ['cert', 'key', 'names']
  if (!Object.keys(value).every((key) => known.includes(key))) return false
  return names === undefined || (Array.isArray(names) && names.length > 0 && names.every(isText))
}

function isClientAuth(value: unknown): boolean {
  if (!isObject(value) || !isPem(value.ca) || !['request', 'require'].includes(String(value.mode))) return false
  if (!Object.keys(value).every((key) => ['ca', 'mode', 'header'].includes(key))) return false
  return value.header === undefined || typeof value.header === 'boolean'
}

function isPem(value: unknown): boolean {
  return isText(value) || value instanceof Uint8Array
}

function isRotation(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= MIN_ROTATION_MS && (value as number) <= LONGEST_MS
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

function isProtocols(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && value.every((one) => one === 'h2' || one === 'http/1.1')
}

function isRanges(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0 || !value.every((one) => typeof one === 'string')) return false
  try {
    trustMatcher(value)
    return true
  } catch {
    return false
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A short form of a value: a server or a certificate is not printed. */
function shown(value: unknown): string {
  if (Array.isArray(value)) {
    const isShort = value.length <= 8 && value.every((one) => typeof one !== 'object' && String(one).length < 50)
    return isShort ? inspect(value, { breakLength: Infinity }) : 'a list'
  }
  return typeof value === 'object' && value !== null ? 'an object' : inspect(value, { maxStringLength: 100 })
}
