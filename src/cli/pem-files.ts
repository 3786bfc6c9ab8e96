import type { OptionFault } from '../index.ts'
import { dateFault, isPair, type PemKind, readPem } from '../runtime/pem.ts'
import { fault, isShown } from './fault.ts'

/** TLS settings whose PEM files have been read. */
export interface TlsSettings {
  readonly ca?: unknown
  readonly cert?: unknown
  readonly key?: unknown
}

const ALLOWED = 'the path of a PEM file, relative to the configuration file, or PEM text'
const EXAMPLES: Readonly<Record<PemKind, string>> = {
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
  #readPem(value: unknown, kind: PemKind, path: string): string | undefined {
    const isText = typeof value === 'string' || Buffer.isBuffer(value)
    const found = isText ? readPem(value, kind, this.#folder) : isShown(value)
    if (typeof found === 'string') {
      this.#faults.push(fault(path, found, undefined, ALLOWED, EXAMPLES[kind]))
      return undefined
    }
    const late = kind === 'key' ? null : dateFault(found.text, Date.now())
    if (late !== null) this.warnings.push(`${path}: ${late}`)
    return found.text
  }

  #checkPair({ cert, key }: TlsSettings, path: string): void {
    if (key === undefined || cert === undefined) {
      const missing = key === undefined ? 'key' : 'cert'
      const message = `is missing, beside ${path}.${missing === 'key' ? 'cert' : 'key'}`
      this.#faults.push(fault(`${path}.${missing}`, message, undefined, ALLOWED, EXAMPLES[missing]))
      return
    }
    if (isPair(String(cert), String(key))) return
    const message = `is not the private key of the certificate in ${path}.cert`
    const allowed = 'the key that the certificate was requested with; the certificate comes first in its file'
    this.#faults.push(fault(`${path}.key`, message, undefined, allowed, EXAMPLES.key))
  }
}
