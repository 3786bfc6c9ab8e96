import { X509Certificate } from 'node:crypto'
import type { ServedCertificate } from '../index.ts'
import { foreignName, isPair, readPem } from '../runtime/pem.ts'

/** A certificate with its key, and its life. */
export interface Pair {
  readonly served: ServedCertificate
  /** Such as `CN=a.example`. */
  readonly subject: string
  /** ms since the Unix epoch. */
  readonly validFrom: number
  /** ms since the Unix epoch. */
  readonly validTo: number
}

/**
 * Reads a key and a certificate with its intermediate ones from one text. @returns what is wrong with it, to follow "it", if it cannot be used.
 * @param name that the certificate must be for.
 */
export function readPair(text: string, name: string): Pair | string {
  const blocks = text.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g) ?? []
  const ofKey = blocks.find((one) => one.includes('PRIVATE KEY'))
  const ofCert = blocks.filter((one) => one.includes('BEGIN CERTIFICATE'))
  if (ofKey === undefined) return 'has no private key'
  if (ofCert.length === 0) return 'has no certificate'
  const [key, cert] = [readPem(`${ofKey}\n`, 'key'), readPem(`${ofCert.join('\n')}\n`, 'cert')]
  if (typeof key === 'string') return key
  if (typeof cert === 'string') return cert
  if (!isPair(cert.text, key.text)) return 'has a key that is not that of its certificate'
  if (foreignName(cert.text, [name]) !== undefined) return `has a certificate that is not for ${name}`
  const { subject, validFrom, validTo } = new X509Certificate(cert.text)
  return {
    served: { cert: cert.text, key: key.text, names: [name] },
    subject: subject?.replace(/\s+/g, ' ') ?? '',
    validFrom: Date.parse(validFrom),
    validTo: Date.parse(validTo),
  }
}

/** When two thirds of its life are over, ms since the Unix epoch. */
export function renewalOf({ validFrom, validTo }: Pair): number {
  return validFrom + ((validTo - validFrom) * 2) / 3
}
