import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { looksLikeKey } from './secrets.ts'

/** What a PEM text is expected to hold. */
export type PemKind = 'cert' | 'key' | 'ca'

/** A PEM text, whose content has been checked. */
export interface Pem {
  readonly text: string
}

/**
 * Reads a PEM file, or takes PEM text as it is.
 * @param value a path, or PEM.
 * @param folder that paths are relative to.
 * @returns what is wrong, to follow the name of the option, if it cannot be used.
 */
export function readPem(value: string | Uint8Array, kind: PemKind, folder = '.'): Pem | string {
  if (value.length === 0) return 'is empty'
  const given = textOf(value)
  const file = pemFile(value, folder)
  let text = given
  if (file !== null) {
    if (looksLikeKey(given)) return 'is a key or a certificate, but not PEM: that begins with -----BEGIN'
    try {
      const info = statSync(file)
      // A pipe that nobody writes to would be read for ever.
      if (!info.isFile() && !info.isDirectory()) return `names a pipe or a device, not a file: ${file}`
      text = readFileSync(file, 'utf8')
    } catch (error) {
      const { code = '', message } = error as NodeJS.ErrnoException
      return `${UNREADABLE[code] ?? `names a file that cannot be read (${message})`}: ${file}`
    }
  }
  const problem = problemOf(text, kind)
  if (problem === null) return { text }
  return file === null ? `is PEM that ${problem}` : `names a file that ${problem}: ${file}`
}

/** The absolute path that `value` names; `null` if it is PEM itself. */
export function pemFile(value: string | Uint8Array, folder = '.'): string | null {
  return typeof value !== 'string' || value.trimStart().startsWith('-----BEGIN') ? null : resolve(folder, value)
}

/** Whether `key` is the private key of the first certificate in `cert`. Both have been read by {@link readPem}. */
export function isPair(cert: string, key: string): boolean {
  return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))
}

/**
 * Why the first certificate in a PEM text is not valid at a time, such as `the certificate (CN=a) expired on ...`; `null` if it is.
 * @param now ms since the Unix epoch.
 */
export function dateFault(pem: string, now: number): string | null {
  const { subject, validFrom, validTo } = new X509Certificate(pem)
  const name = subject?.replace(/\s+/g, ' ') ?? 'no subject'
  if (Date.parse(validTo) < now) return `the certificate (${name}) expired on ${validTo}`
  return Date.parse(validFrom) > now ? `the certificate (${name}) is not valid before ${validFrom}` : null
}

/** Whether the certificate is for a host name or an address. */
export function isFor(certificate: X509Certificate, name: string): boolean {
  return (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined
}

/** The DNS names of a certificate, in lower case; without any, the common name. */
export function namesOf({ subjectAltName = '', subject }: X509Certificate): string[] {
  // node quotes names with commas and the like, which cannot be host names.
  const names = Array.from(subjectAltName.matchAll(/(?:^|, )DNS:([^",]+)/g), ([, name]) => name as string)
  if (subjectAltName === '') names.push(...Array.from(subject.matchAll(/^CN=(.+)$/gm), ([, name]) => name as string))
  return names.map((name) => name.toLowerCase())
}

/** The first of `names` that the first certificate in a PEM text is not for. */
export function foreignName(pem: string, names: readonly string[]): string | undefined {
  const certificate = new X509Certificate(pem)
  const own = namesOf(certificate)
  return names.find((name) => !own.includes(name.toLowerCase()) && !isFor(certificate, name))
}

function textOf(value: string | Uint8Array): string {
  return typeof value === 'string' ? value : Buffer.from(value).toString()
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'names a file that does not exist',
  ENOTDIR: 'names a file that does not exist',
  EACCES: 'names a file that this user may not read',
  EPERM: 'names a file that this user may not read',
  EISDIR: 'names a folder, not a file',
}

/** What is wrong with a PEM text, to follow "that"; `null` if it can be used. */
function problemOf(pem: string, kind: PemKind): string | null {
  if (!pem.includes('-----BEGIN ')) {
    // A DER file begins with the byte 0x30.
    const hint = pem.startsWith('0') ? '; it looks like DER: convert it with openssl (-inform DER)' : ''
    return `is not PEM${hint}`
  }
  const hasCertificate = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/.test(pem)
  if (kind !== 'key') {
    if (!hasCertificate) return 'has no certificate'
    return thrownBy(() => new X509Certificate(pem)) === null ? null : 'has a certificate that cannot be parsed'
  }
  if (!pem.includes('PRIVATE KEY-----')) return 'has no private key'
  if (/-----BEGIN ENCRYPTED |^Proc-Type: 4,ENCRYPTED/m.test(pem)) {
    return 'is encrypted with a passphrase; decrypt it with: openssl pkey -in FILE -out NEW'
  }
  return thrownBy((): KeyObject => createPrivateKey(pem)) === null ? null : 'has a private key that cannot be parsed'
}

function thrownBy(call: () => unknown): unknown {
  try {
    call()
    return null
  } catch (error) {
    return error
  }
}
