import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { OptionFault } from '../index.ts'
import { looksLikeKey } from '../runtime/secrets.ts'
import { fault, isShown } from './fault.ts'

/** TLS settings whose PEM files have been read. */
export interface TlsSettings {
  readonly ca?: unknown
  readonly cert?: unknown
  readonly key?: unknown
}

type Kind = 'cert' | 'key' | 'ca'

const ALLOWED = 'the path of a PEM file, relative to the configuration file, or PEM text'
const EXAMPLES: Readonly<Record<Kind, string>> = {
  cert: 'certs/site.pem',
  key: 'certs/site-key.pem',
  ca: 'certs/ca.pem',
}

/** Reads and checks the PEM files that a configuration names. */
export class PemFiles {
  readonly #folder: string
  readonly #faults: OptionFault[]
  /** What works now but is worth a warning: a certificate that has expired. */
  readonly warnings: string[] = []

  /** @param folder that paths are relative to. */
  constructor(folder: string, faults: OptionFault[]) {
    this.#folder = folder
    this.#faults = faults
  }

  /**
   * The settings with the content of the files in place of their paths.
   * @param path of the settings in the configuration.
   * @returns `undefined` if there is a fault, which is then in the list.
   */
  read(settings: Readonly<Record<string, unknown>>, path: string): TlsSettings | undefined {
    const faultsBefore = this.#faults.length
    const { ca, cert, key } = settings
    const found = {
      ...settings,
      ...(ca !== undefined && { ca: this.#readCas(ca, `${path}.ca`) }),
      ...(cert !== undefined && { cert: this.#readPem(cert, 'cert', `${path}.cert`) }),
      ...(key !== undefined && { key: this.#readPem(key, 'key', `${path}.key`) }),
    }
    if (this.#faults.length > faultsBefore) return undefined
    if (cert !== undefined || key !== undefined) this.#checkPair(found, path)
    return this.#faults.length > faultsBefore ? undefined : found
  }

  #readCas(value: unknown, path: string): unknown {
    if (!Array.isArray(value)) return this.#readPem(value, 'ca', path)
    return value.map((each, index) => this.#readPem(each, 'ca', `${path}[${index}]`))
  }

  /** @returns PEM, whose content has been checked. */
  #readPem(value: unknown, kind: Kind, path: string): string | Buffer | undefined {
    const wrong = (message: string): undefined => {
      this.#faults.push(fault(path, message, undefined, ALLOWED, EXAMPLES[kind]))
    }
    if (typeof value !== 'string' && !Buffer.isBuffer(value)) return wrong(isShown(value))
    if (value.length === 0) return wrong('is empty')
    const isInline = Buffer.isBuffer(value) || value.trimStart().startsWith('-----BEGIN')
    const file = isInline ? null : resolve(this.#folder, value)
    let pem = value
    if (file !== null) {
      if (looksLikeKey(String(value)))
        return wrong('is a key or a certificate, but not PEM: that begins with -----BEGIN')
      try {
        const info = statSync(file)
        // A pipe that nobody writes to would be read for ever.
        if (!info.isFile() && !info.isDirectory()) return wrong(`names a pipe or a device, not a file: ${file}`)
        pem = readFileSync(file)
      } catch (error) {
        const { code = '', message } = error as NodeJS.ErrnoException
        return wrong(`${UNREADABLE[code] ?? `names a file that cannot be read (${message})`}: ${file}`)
      }
    }
    const problem = problemOf(pem.toString(), kind)
    if (problem !== null)
      return wrong(file === null ? `is PEM that ${problem}` : `names a file that ${problem}: ${file}`)
    if (kind !== 'key') this.#checkDates(pem.toString(), path)
    return pem
  }

  #checkDates(pem: string, path: string): void {
    const { subject, validFrom, validTo } = new X509Certificate(pem)
    const name = subject?.replace(/\s+/g, ' ') ?? 'no subject'
    if (Date.parse(validTo) < Date.now()) this.warnings.push(`${path}: the certificate (${name}) expired on ${validTo}`)
    if (Date.parse(validFrom) > Date.now())
      this.warnings.push(`${path}: the certificate (${name}) is not valid before ${validFrom}`)
  }

  #checkPair({ cert, key }: TlsSettings, path: string): void {
    if (key === undefined || cert === undefined) {
      const missing = key === undefined ? 'key' : 'cert'
      const message = `is missing, beside ${path}.${missing === 'key' ? 'cert' : 'key'}`
      this.#faults.push(fault(`${path}.${missing}`, message, undefined, ALLOWED, EXAMPLES[missing]))
      return
    }
    if (new X509Certificate(String(cert)).checkPrivateKey(createPrivateKey(String(key)))) return
    const message = `is not the private key of the certificate in ${path}.cert`
    const allowed = 'the key that the certificate was requested with; the certificate comes first in its file'
    this.#faults.push(fault(`${path}.key`, message, undefined, allowed, EXAMPLES.key))
  }
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'names a file that does not exist',
  ENOTDIR: 'names a file that does not exist',
  EACCES: 'names a file that this user may not read',
  EPERM: 'names a file that this user may not read',
  EISDIR: 'names a folder, not a file',
}

/** What is wrong with a PEM text, to follow "that"; `null` if it can be used. */
function problemOf(pem: string, kind: Kind): string | null {
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
