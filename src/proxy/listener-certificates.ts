import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { type Stats, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { TlsOptions } from 'node:tls'
import type { CertificateProvider, OpenProvider } from '../contracts/certificate-provider.ts'
import type { ClientAuth, ListenCertificate, ListenerTls, ListenTls, ServedCertificate } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { isProvider } from '../fronts/listen-options.ts'
import { assertSecureContext } from '../fronts/secure-options.ts'
import type { Clock } from '../runtime/clock.ts'
import { describeError } from '../runtime/describe-error.ts'
import { dateFault, foreignName, isPair, namesOf, pemFile, readPem } from '../runtime/pem.ts'
import type { CertificateStats } from './types.ts'

/** How often the files are looked at, ms. `fs.watch()` would miss secrets that are mounted anew. */
const WATCH_MS = 10_000
const ROTATION_MS = 12 * 60 * 60 * 1000
/** Two keys of AES and HMAC and a name, as node wants them. */
const TICKET_KEY_BYTES = 48
const DAY_MS = 24 * 60 * 60 * 1000

/** What {@link ListenerCertificates} uses. */
export interface ListenerCertificatesDeps {
  readonly clock: Clock
  readonly logger: Logger
  /** Serves new connections so, in all threads. */
  apply(tls: ListenerTls): Promise<void>
}

/** A certificate, or the client authorities, with where it was read. */
interface Source<T> {
  given: T
  /** In the options, for messages. */
  readonly where: string
  /** The files that it was read from. */
  files: readonly string[]
  /** What the system said about the files, before they were last read. */
  seen: string
  /** Why the files as they are now are not used, or `null`. */
  fault: string | null
}

interface CertificateSource extends Source<ListenCertificate> {
  served: ServedCertificate
  /** For the statistics: parsing costs too much to do it each time. */
  facts: Pick<CertificateStats, 'subject' | 'validTo'>
  /** Names that belong to a newer certificate. */
  readonly taken: Set<string>
}

interface AuthoritySource extends Source<ClientAuth> {
  pem: string
}

/**
 * The certificates of one listener, in the thread that called `listen()`: reads and checks them, follows their files, and changes the
 * key of the session tickets. {@link current} is what all threads serve.
 */
export class ListenerCertificates {
  readonly #deps: ListenerCertificatesDeps
  readonly #listener: number
  readonly #options: TlsOptions
  readonly #watches: boolean
  readonly #rotationMs: number
  #sources: CertificateSource[]
  readonly #authorities: AuthoritySource | null
  readonly #providers: readonly OpenProvider[]
  #ticketKeys: Buffer
  #current: ListenerTls
  #cancelWatch = (): void => {}
  #cancelRotation = (): void => {}
  #isClosed = false

  /** @throws TypeError that names the option, if a certificate cannot be used. */
  constructor(listener: number, given: ListenTls | TlsOptions, deps: ListenerCertificatesDeps) {
    this.#deps = deps
    this.#listener = listener
    const { where, options, certificates, clientAuth, reload, ticketRotationMs } = normalized(given)
    this.#options = options
    this.#watches = reload !== false
    this.#rotationMs = ticketRotationMs ?? ROTATION_MS
    this.#authorities = clientAuth === undefined ? null : readAuthorities(clientAuth, 'listen: tls.clientAuth')
    this.#sources = certificates.flatMap((one, at) => (isProvider(one) ? [] : readCertificate(one, where(at), options)))
    for (const { served, where } of this.#sources) {
      const late = dateFault(served.cert, deps.clock.epoch())
      if (late !== null) deps.logger.warn({}, `${where}.cert: ${late}`)
    }
    const { clock, logger } = deps
    this.#providers = certificates
      .filter(isProvider)
      .map((provider) => provider.open({ clock, logger, apply: () => this.#apply() }))
    this.#ticketKeys = options.ticketKeys ?? randomBytes(TICKET_KEY_BYTES)
    this.#current = this.#state()
    this.#watch()
    if (options.ticketKeys === undefined) this.#rotate()
  }

  /** What the listener serves. */
  get current(): ListenerTls {
    return this.#current
  }

  /** The listener listens. */
  begin(): void {
    if (!this.#isClosed) for (const one of this.#providers) one.begin()
  }

  /** Adds a certificate, which gets all its names. One without names of its own any more is dropped. */
  async replace(given: ListenCertificate): Promise<void> {
    const source = readCertificate(given, 'replaceCertificate', this.#options)
    const late = dateFault(source.served.cert, this.#deps.clock.epoch())
    if (late !== null) throw new TypeError(`replaceCertificate: ${late}`)
    for (const { served, taken } of this.#sources)
      for (const name of source.served.names) if (served.names.includes(name)) taken.add(name)
    const isDropped = ({ served, taken }: CertificateSource): boolean => served.names.every((name) => taken.has(name))
    const at = this.#sources.findIndex(isDropped)
    const before = at < 0 ? this.#sources : this.#sources.slice(0, at)
    this.#sources = [
      ...before,
      source,
      ...this.#sources.slice(at < 0 ? this.#sources.length : at).filter((one) => !isDropped(one)),
    ]
    this.#watch()
    await this.#apply()
  }

  /** Reads the files that have changed. A fault is logged once, and what was read before stays. */
  async reload(): Promise<void> {
    const all = [...this.#sources, ...(this.#authorities === null ? [] : [this.#authorities])]
    const seen = await Promise.all(all.map(({ files }) => look(files)))
    if (this.#isClosed) return
    let isChanged = false
    for (const [index, source] of all.entries()) {
      const now = seen[index] as string
      if (source.files.length === 0 || source.seen === now) continue
      try {
        const isOther =
          source === this.#authorities
            ? this.#reloadAuthorities(this.#authorities)
            : this.#reloadCertificate(source as CertificateSource)
        source.fault = null
        if (isOther)
          this.#deps.logger.info({ files: source.files }, `${source.where}: its files have changed, and are used`)
        isChanged ||= isOther
      } catch (error) {
        const fault = describeError(error)
        if (fault !== source.fault) {
          this.#deps.logger.error({ files: source.files, err: error }, `${fault}; what was read before stays in use`)
        }
        source.fault = fault
      }
      source.seen = now
    }
    if (isChanged) await this.#apply()
  }

  stats(): CertificateStats[] {
    const now = this.#deps.clock.epoch()
    const daysLeft = (validTo: string): number => Math.floor((Date.parse(validTo) - now) / DAY_MS)
    const read = this.#sources.map(({ served, facts, taken, fault }) => ({
      names: served.names.filter((name) => !taken.has(name)),
      ...facts,
      daysLeft: daysLeft(facts.validTo),
      fault,
    }))
    const provided = this.#providers.flatMap(({ names }) =>
      names.map(({ name, subject, validTo, fault }) => ({
        names: [name],
        subject,
        validTo,
        daysLeft: validTo === '' ? 0 : daysLeft(validTo),
        fault,
      })),
    )
    return [...read, ...provided]
  }

  /** Stops to follow the files and to change keys. */
  close(): void {
    this.#isClosed = true
    for (const one of this.#providers) one.close()
    this.#cancelWatch()
    this.#cancelRotation()
  }

  /** @returns whether there is anything new. */
  #reloadCertificate(source: CertificateSource): boolean {
    const old = source.served
    const { served, facts, files } = readCertificate(source.given, source.where, this.#options)
    const now = this.#deps.clock.epoch()
    const late = dateFault(served.cert, now)
    if (late !== null && dateFault(old.cert, now) === null) throw new TypeError(`${source.where}.cert: ${late}`)
    source.served = served
    source.facts = facts
    source.files = files
    return old.cert !== served.cert || old.key !== served.key
  }

  /** @returns whether there is anything new. */
  #reloadAuthorities(source: AuthoritySource): boolean {
    const { pem, files } = readAuthorities(source.given, source.where)
    source.files = files
    if (pem === source.pem) return false
    // A ticket says that its client's certificate was valid. Under other authorities it must not say so any more.
    this.#ticketKeys = randomBytes(TICKET_KEY_BYTES)
    source.pem = pem
    return true
  }

  #watch(): void {
    this.#cancelWatch()
    const hasFiles = this.#authorities?.files.length || this.#sources.some(({ files }) => files.length > 0)
    if (!this.#watches || !hasFiles || this.#isClosed) return
    this.#cancelWatch = this.#deps.clock.schedule(WATCH_MS, () => {
      this.reload()
        .catch(this.#onFault)
        .finally(() => this.#watch())
    })
  }

  #rotate(): void {
    this.#cancelRotation = this.#deps.clock.schedule(this.#rotationMs, () => {
      this.#ticketKeys = randomBytes(TICKET_KEY_BYTES)
      this.#apply().catch(this.#onFault)
      this.#rotate()
    })
  }

  readonly #onFault = (error: unknown): void => {
    this.#deps.logger.error({ err: error }, `the certificates of a listener were not changed: ${describeError(error)}`)
  }

  #apply(): Promise<void> {
    this.#current = this.#state()
    return this.#deps.apply(this.#current)
  }

  #state(): ListenerTls {
    const [authorities, providers] = [this.#authorities, this.#providers]
    return {
      listener: this.#listener,
      options: {
        // Without one, node takes the command line, which threads do not share. A session stays with its authorities.
        sessionIdContext: createHash('sha256')
          .update(authorities?.pem ?? '')
          .digest('hex')
          .slice(0, 32),
        ...this.#options,
        ticketKeys: this.#ticketKeys,
        ...(authorities !== null && {
          ca: authorities.pem,
          requestCert: true,
          rejectUnauthorized: authorities.given.mode === 'require',
        }),
      },
      certificates: [
        ...this.#sources.map(({ served, taken }) => {
          return taken.size === 0 ? served : { ...served, names: served.names.filter((name) => !taken.has(name)) }
        }),
        ...providers.flatMap(({ names }) => names.map(({ certificate }) => certificate)).filter((one) => one !== null),
      ],
      challenges: providers.length === 0 ? null : providers.flatMap(({ challenges }) => challenges),
      clientAuth: authorities === null ? null : { header: authorities.given.header !== false },
    }
  }
}

interface Normalized extends Partial<ListenTls> {
  readonly certificates: readonly (ListenCertificate | CertificateProvider)[]
  readonly options: TlsOptions
  /** Of a certificate in the options. */
  where(at: number): string
}

/** Both forms as one. In node's form, one certificate and its key are taken out of the options. */
function normalized(given: ListenTls | TlsOptions): Normalized {
  if ('certificates' in given) {
    const { minVersion } = given
    const where = (at: number): string => `listen: tls.certificates[${at}]`
    return { ...given, where, options: minVersion === undefined ? {} : { minVersion } }
  }
  const { cert, key, ...others } = given as TlsOptions
  const isOne = isText(cert) && isText(key) && others.passphrase === undefined && others.pfx === undefined
  const where = (): string => 'listen: tls'
  if (!isOne) return { where, certificates: [], options: given as TlsOptions }
  // As bytes, text is never a path.
  return { where, certificates: [{ cert: Buffer.from(cert), key: Buffer.from(key) }], options: others }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' || value instanceof Uint8Array
}

function readCertificate(given: ListenCertificate, where: string, options: TlsOptions): CertificateSource {
  const { files, seen } = lookNow([given.cert, given.key])
  const cert = readPem(given.cert, 'cert')
  if (typeof cert === 'string') throw new TypeError(`${where}.cert ${cert}`)
  const key = readPem(given.key, 'key')
  if (typeof key === 'string') throw new TypeError(`${where}.key ${key}`)
  const pair = { cert: cert.text, key: key.text }
  if (!isPair(pair.cert, pair.key)) {
    throw new TypeError(`${where}.key is not the private key of the certificate in ${where}.cert`)
  }
  const parsed = new X509Certificate(pair.cert)
  const names = (given.names ?? namesOf(parsed)).map((name) => name.toLowerCase())
  const foreign = foreignName(pair.cert, names)
  if (foreign !== undefined) {
    throw new TypeError(`${where}.names has ${JSON.stringify(foreign)}, which the certificate is not for`)
  }
  assertSecureContext(where, { ...options, ...pair })
  const facts = {
    subject: parsed.subject?.replace(/\s+/g, ' ') ?? '',
    validTo: new Date(parsed.validTo).toISOString(),
  }
  return { given, where, files, seen, fault: null, served: { ...pair, names }, facts, taken: new Set() }
}

function readAuthorities(given: ClientAuth, where: string): AuthoritySource {
  const { files, seen } = lookNow([given.ca])
  const ca = readPem(given.ca, 'ca')
  if (typeof ca === 'string') throw new TypeError(`${where}.ca ${ca}`)
  assertSecureContext(where, { ca: ca.text })
  return { given, where, files, seen, fault: null, pem: ca.text }
}

/** What tells whether files have changed, also if a link leads to another file. */
async function look(files: readonly string[]): Promise<string> {
  const seen = await Promise.all(files.map((file) => stat(file).then(markOf, codeOf)))
  return seen.join()
}

/** The files among PEM texts and paths, and what {@link look} would say about them. */
function lookNow(given: readonly ListenCertificate['cert'][]): { files: string[]; seen: string } {
  const files = given.map((one) => pemFile(one)).filter((file) => file !== null)
  const seen = files.map((file) => {
    try {
      return markOf(statSync(file))
    } catch (error) {
      return codeOf(error as NodeJS.ErrnoException)
    }
  })
  return { files, seen: seen.join() }
}

function markOf({ ino, size, mtimeMs }: Stats): string {
  return `${ino} ${size} ${mtimeMs}`
}

function codeOf({ code }: NodeJS.ErrnoException): string {
  return String(code)
}
