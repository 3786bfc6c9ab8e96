import { resolve } from 'node:path'
import type { AcmeOptions, ListenCertificate, OptionFault } from '../index.ts'
import { dateFault, foreignName, isPair, type PemKind, pemFile, readPem } from '../runtime/pem.ts'
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
  /** The same of listeners. The proxy itself logs it, too. */
  readonly listenWarnings: string[] = []

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
  read(settings: Readonly<Record<string, unknown>>, path: string, warnings = this.warnings): TlsSettings | undefined {
    const faultsBefore = this.#faults.length
    const { ca, cert, key } = settings
    const found = {
      ...settings,
      ...(ca !== undefined && { ca: this.#readCas(ca, `${path}.ca`, warnings) }),
      ...(cert !== undefined && { cert: this.#readPem(cert, 'cert', `${path}.cert`, warnings) }),
      ...(key !== undefined && { key: this.#readPem(key, 'key', `${path}.key`, warnings) }),
    }
    if (this.#faults.length > faultsBefore) return undefined
    if (cert !== undefined || key !== undefined) this.#checkPair(found, path)
    return this.#faults.length > faultsBefore ? undefined : found
  }

  /**
   * Checks the certificate of a listener as {@link read} does. Its files are read again later, so that their paths stay, as absolute ones.
   * @param path of the certificate in the configuration.
   */
  certificate(given: Readonly<Record<string, unknown>>, path: string): ListenCertificate | undefined {
    const found = this.read(given, path, this.listenWarnings)
    const { names } = given
    if (found === undefined) return undefined
    const foreign = isNames(names) ? foreignName(String(found.cert), names) : undefined
    if (names !== undefined && !isNames(names)) {
      this.#faults.push(fault(`${path}.names`, isShown(names), names, 'a list of names', ['a.example']))
    } else if (foreign !== undefined) {
      const message = `has ${JSON.stringify(foreign)}, which the certificate is not for`
      this.#faults.push(fault(`${path}.names`, message, names, 'names of the certificate', ['a.example']))
    }
    const { cert, key } = given as { cert: string; key: string }
    return { cert: this.#absolute(cert), key: this.#absolute(key), ...(isNames(names) && { names }) }
  }

  /** Options of ACME with absolute paths. */
  relative(options: Readonly<Record<string, unknown>>): AcmeOptions {
    const { folder, ca } = options
    return {
      ...(options as unknown as AcmeOptions),
      ...(typeof folder === 'string' && folder !== '' && { folder: resolve(this.#folder, folder) }),
      ...(typeof ca === 'string' && ca !== '' && { ca: this.#absolute(ca) }),
    }
  }

  /** Checks the authorities of clients. @returns their PEM, or the absolute path. */
  authorities(ca: unknown, path: string): string | undefined {
    const found = this.#readPem(ca, 'ca', path, this.listenWarnings)
    return found === undefined ? undefined : this.#absolute(ca as string)
  }

  #absolute(value: string): string {
    return pemFile(value, this.#folder) ?? value
  }

  #readCas(value: unknown, path: string, warnings: string[]): unknown {
    if (!Array.isArray(value)) return this.#readPem(value, 'ca', path, warnings)
    return value.map((each, index) => this.#readPem(each, 'ca', `${path}[${index}]`, warnings))
  }

  /** @returns PEM, whose content has been checked. */
  #readPem(value: unknown, kind: PemKind, path: string, warnings: string[]): string | undefined {
    const isText = typeof value === 'string' || Buffer.isBuffer(value)
    const found = isText ? readPem(value, kind, this.#folder) : isShown(value)
    if (typeof found === 'string') {
      this.#faults.push(fault(path, found, undefined, ALLOWED, EXAMPLES[kind]))
      return undefined
    }
    const late = kind === 'key' ? null : dateFault(found.text, Date.now())
    if (late !== null) warnings.push(`${path}: ${late}`)
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

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === 'string' && name !== '')
}
