import type { Clock } from '../runtime/clock.ts'
import type { ServedCertificate } from './executor.ts'
import type { Logger } from './logger.ts'

/**
 * Gives a listener certificates that it orders and renews by itself, such as `acme()` of `heddle/acme`. It works in the thread that
 * calls `listen()`.
 */
export interface CertificateProvider {
  /** Called by `listen()`, before it listens. @throws if it cannot work: `listen()` rejects with that. */
  open(listener: ProviderListener): OpenProvider
}

/** The listener, as its {@link CertificateProvider} sees it. */
export interface ProviderListener {
  readonly clock: Clock
  readonly logger: Logger
  /** To be called when anything of the {@link OpenProvider} has changed. Resolves when every thread serves it; rejects if one cannot. */
  apply(): Promise<void>
}

/** A {@link CertificateProvider} at work for one listener. */
export interface OpenProvider {
  /** Each name that it cares for. */
  readonly names: readonly ProvidedName[]
  /** Certificates for clients that ask for the protocol `acme-tls/1` alone (RFC 8737), by name. */
  readonly challenges: readonly ServedCertificate[]
  /** The listener listens. */
  begin(): void
  /** The listener has closed. */
  close(): void
}

/** A name of a {@link CertificateProvider}. */
export interface ProvidedName {
  readonly name: string
  /** `null`: there is none yet. */
  readonly certificate: ServedCertificate | null
  /** Its subject, such as `CN=a.example`; empty if there is none. */
  readonly subject: string
  /** When it expires, as an ISO date; empty if there is none. */
  readonly validTo: string
  /** Why the latest order failed; `null` if it did not. */
  readonly fault: string | null
}
