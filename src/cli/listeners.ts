import { type AcmeCertificates, acme } from '../acme/index.ts'
import { trustMatcher } from '../headers/trust.ts'
import {
  type AcmeOptions,
  type ClientAuth,
  type ListenCertificate,
  type ListenTls,
  type OptionFault,
  OptionsError,
} from '../index.ts'
import { describeError } from '../runtime/describe-error.ts'
import { portOf } from '../runtime/port.ts'
import { CommandError } from './command-error.ts'
import { fault, isShown, unknown } from './fault.ts'
import { type Address, listen, PROTOCOLS, ROTATION } from './file-options.ts'
import type { PemFiles } from './pem-files.ts'

/** An address to listen on, checked. */
export interface Listener extends Address {
  readonly tls?: ListenTls
  readonly protocols?: readonly Protocol[]
  /** Orders certificates of `tls`. */
  readonly acme?: AcmeCertificates
  /** Sends every request to the first listener with `tls`. */
  readonly redirect?: 'https'
  readonly proxyProtocol?: readonly string[]
}

/** Most addresses, as `workerThreads()` allows. */
const MOST = 64
const KEYS = ['port', 'host', 'tls', 'protocols', 'redirect', 'proxyProtocol']
type Protocol = (typeof PROTOCOLS)[number]
const TLS_KEYS = ['cert', 'key', 'certificates', 'acme', 'minVersion', 'clientAuth', 'reload', 'ticketRotationMs']
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
  for (const [index, each] of read.entries()) {
    if (each?.acme?.challenge !== 'http-01' || redirects || known.length < all.length) continue
    const message = "is 'http-01', but no listener responds to it"
    const allowed = "'tls-alpn-01', or another listener with redirect on port 80"
    faults.push(fault(`${pathAt(index)}.tls.acme.challenge`, message, 'http-01', allowed, 'tls-alpn-01'))
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
  const { port, host, tls, protocols, redirect, proxyProtocol } = value as Record<string, unknown>
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
  const rangeFault = proxyProtocol === undefined ? null : faultOfRanges(proxyProtocol)
  if (rangeFault !== null) {
    const allowed = 'a list of addresses and ranges of load balancers'
    faults.push(fault(`${path}.proxyProtocol`, rangeFault, proxyProtocol, allowed, ['10.0.0.0/8']))
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
    ...settings,
    ...(areProtocols(protocols) && { protocols }),
    ...(redirect === 'https' && { redirect }),
    ...(proxyProtocol !== undefined && { proxyProtocol: proxyProtocol as string[] }),
  }
}

/** @returns `null` if they can be used. */
function faultOfRanges(value: unknown): string | null {
  if (!Array.isArray(value) || value.length === 0 || !value.every((one) => typeof one === 'string'))
    return isShown(value)
  try {
    trustMatcher(value)
    return null
  } catch (error) {
    return `is invalid: ${describeError(error)}`
  }
}

function readTls(
  tls: unknown,
  path: string,
  files: PemFiles,
  faults: OptionFault[],
): Pick<Listener, 'tls' | 'acme'> | undefined {
  if (!isRecord(tls)) {
    faults.push(fault(path, isShown(tls), tls, 'an object with cert, key', TLS_EXAMPLE))
    return undefined
  }
  refuseUnknown(tls, TLS_KEYS, path, faults)
  const { minVersion, reload, ticketRotationMs } = tls
  const versions = ['TLSv1.2', 'TLSv1.3']
  if (minVersion !== undefined && !versions.includes(String(minVersion))) {
    faults.push(fault(`${path}.minVersion`, isShown(minVersion), minVersion, versions.join(' or '), 'TLSv1.3'))
  }
  if (reload !== undefined && reload !== false && reload !== 'watch') {
    faults.push(fault(`${path}.reload`, isShown(reload), reload, "'watch' or false", false))
  }
  if (ticketRotationMs !== undefined && !isRotation(ticketRotationMs)) {
    const allowed = `a whole number of ms, ${ROTATION.min} to ${ROTATION.max}`
    faults.push(fault(`${path}.ticketRotationMs`, isShown(ticketRotationMs), ticketRotationMs, allowed, 3_600_000))
  }
  const orders = tls.acme === undefined ? undefined : readAcme(tls.acme, `${path}.acme`, files, faults)
  const certificates = readCertificates(tls, path, files, faults)
  const clientAuth = readClientAuth(tls.clientAuth, `${path}.clientAuth`, files, faults)
  // What is wrong with them is among the faults.
  const others = { minVersion, reload, ticketRotationMs } as Partial<ListenTls>
  return {
    tls: {
      certificates: [...certificates, ...(orders === undefined ? [] : [orders])],
      ...(clientAuth !== undefined && { clientAuth }),
      ...others,
    },
    ...(orders !== undefined && { acme: orders }),
  }
}

/** Its paths are relative to the folder of the file. */
function readAcme(value: unknown, path: string, files: PemFiles, faults: OptionFault[]): AcmeCertificates | undefined {
  try {
    return acme(isRecord(value) ? files.relative({ folder: 'acme', ...value }) : (value as AcmeOptions))
  } catch (error) {
    if (!(error instanceof OptionsError)) throw new CommandError(1, (error as Error).message, { cause: error })
    faults.push(...error.faults.map((one) => ({ ...one, path: `${path}${one.path.slice('acme'.length)}` })))
    return undefined
  }
}

/** One certificate is written without a list. */
function readCertificates(
  tls: Readonly<Record<string, unknown>>,
  path: string,
  files: PemFiles,
  faults: OptionFault[],
): ListenCertificate[] {
  const { cert, key, certificates } = tls
  const example = [TLS_EXAMPLE, { cert: 'certs/other.pem', key: 'certs/other-key.pem' }]
  if (certificates === undefined) {
    if (cert === undefined && key === undefined) {
      if (tls.acme !== undefined) return []
      faults.push(fault(path, 'has neither cert nor key', tls, 'an object with cert, key, or with acme', TLS_EXAMPLE))
      return []
    }
    return [files.certificate({ cert, key }, path)].filter((one) => one !== undefined)
  }
  if (cert !== undefined || key !== undefined) {
    const allowed = 'cert and key, or certificates, but not both'
    faults.push(fault(`${path}.certificates`, 'is set beside cert or key', certificates, allowed, example))
  }
  if (!Array.isArray(certificates) || certificates.length === 0) {
    const message = Array.isArray(certificates) ? 'is an empty list' : isShown(certificates)
    faults.push(fault(`${path}.certificates`, message, certificates, 'a list of { cert, key, names }', example))
    return []
  }
  const read = certificates.map((one: unknown, at) => {
    const where = `${path}.certificates[${at}]`
    if (isRecord(one) && (one.cert !== undefined || one.key !== undefined)) {
      refuseUnknown(one, ['cert', 'key', 'names'], where, faults)
      return files.certificate(one, where)
    }
    const message = isRecord(one) ? 'has neither cert nor key' : isShown(one)
    faults.push(fault(where, message, one, 'an object with cert, key, names', TLS_EXAMPLE))
    return undefined
  })
  return read.filter((one) => one !== undefined)
}

function readClientAuth(value: unknown, path: string, files: PemFiles, faults: OptionFault[]): ClientAuth | undefined {
  if (value === undefined) return undefined
  const example = { ca: 'certs/clients-ca.pem', mode: 'require' }
  if (!isRecord(value)) {
    faults.push(fault(path, isShown(value), value, 'an object with ca, mode, header', example))
    return undefined
  }
  refuseUnknown(value, ['ca', 'mode', 'header'], path, faults)
  const { mode, header } = value
  if (mode !== 'request' && mode !== 'require') {
    const message = mode === undefined ? 'is missing' : isShown(mode)
    faults.push(fault(`${path}.mode`, message, mode, "'request' or 'require'", 'require'))
  }
  if (header !== undefined && typeof header !== 'boolean') {
    faults.push(fault(`${path}.header`, isShown(header), header, 'true or false', false))
  }
  const ca = files.authorities(value.ca, `${path}.ca`)
  if (ca === undefined || (mode !== 'request' && mode !== 'require')) return undefined
  return { ca, mode, ...(typeof header === 'boolean' && { header }) }
}

function isRotation(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= ROTATION.min && (value as number) <= ROTATION.max
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
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
