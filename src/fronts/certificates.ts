import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import tls, { type SecureContext, type TLSSocket } from 'node:tls'
import type { ListenerTls, ServedCertificate } from '../contracts/executor.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { PeerIdentity } from '../model/peer.ts'
import { isFor } from '../runtime/pem.ts'
import { handshakeCallbacks } from './node-internals.ts'

/** Most contexts that are kept. Each takes 28 to 43 KiB, and 0.3 to 0.4 ms to make. */
const MOST_CONTEXTS = 10_000
/** By which an authority asks for the certificate of a challenge (RFC 8737). */
export const CHALLENGE_PROTOCOL = 'acme-tls/1'

/**
 * The certificates of one TLS server, by name. Contexts are made when a client first asks for them. The server's own context has
 * the first certificate, for clients that ask for no name or an unknown one.
 */
export class CertificateTable {
  #tls: ListenerTls
  readonly #most: number
  #exact = new Map<string, ServedCertificate>()
  /** By what follows the first label, with its dot. */
  #wildcards = new Map<string, ServedCertificate>()
  /** The least recently used first. */
  readonly #contexts = new Map<ServedCertificate, SecureContext>()
  readonly #parsed = new WeakMap<ServedCertificate, X509Certificate>()

  /** @param most contexts that are kept. */
  constructor(tls: ListenerTls, most = MOST_CONTEXTS) {
    this.#tls = tls
    this.#most = most
    this.#index()
  }

  /** For `tls.createServer()`. @param protocols that the server speaks, the preferred one first. */
  options(protocols: readonly string[]): tls.TlsOptions {
    const own = optionsOf(this.#tls)
    if (this.#tls.challenges === null) {
      return { ALPNProtocols: [...protocols], SNICallback: this.#onServerName, ...own }
    }
    const challenged = new WeakSet()
    const callbacks = handshakeCallbacks(
      (handshake, asked) => {
        // Nobody else may see the certificate of a challenge: a name that is renewed has visitors.
        if (!asked.includes(CHALLENGE_PROTOCOL)) return protocols.find((one) => asked.includes(one))
        challenged.add(handshake)
        return CHALLENGE_PROTOCOL
      },
      (handshake, name, done) => {
        if (challenged.has(handshake)) this.#onChallenge(name, done)
        else this.#onServerName(name, done)
      },
    )
    return { ...callbacks, ...own }
  }

  /** Whether clients are asked for certificates. */
  get asksClients(): boolean {
    return this.#tls.clientAuth !== null
  }

  /**
   * Serves new connections of `server` as `next` says. Sessions go on, unless the key of their tickets is another one.
   * @throws what node throws if it cannot use the default certificate. Then nothing has changed.
   */
  replace(next: ListenerTls, server: tls.Server): void {
    const old = this.#tls
    const kept = new Map(old.certificates.map((one) => [keyOf(one), one]))
    // A certificate that stays keeps its identity, and so its context: those of another thread are copies.
    const certificates = next.certificates.map((one) => kept.get(keyOf(one)) ?? one)
    const isSameContext = contextKey(old) === contextKey(next)
    const { ticketKeys } = next.options
    // The server's own context serves clients that ask for no name. A new one must get the key of the tickets again.
    if (!isSameContext || certificates[0] !== old.certificates[0]) server.setSecureContext(optionsOf(next))
    else if (ticketKeys !== undefined) server.setTicketKeys(Buffer.from(ticketKeys))
    this.#tls = { ...next, certificates }
    const stay = new Set(isSameContext ? certificates : [])
    for (const one of this.#contexts.keys()) if (!stay.has(one)) this.#contexts.delete(one)
    this.#index()
  }

  /** The client's identity on a connection whose handshake is done. */
  identify(socket: TLSSocket): PeerIdentity {
    const certificate = socket.authorized ? (socket.getPeerX509Certificate() ?? null) : null
    // In a resumed session of TLS 1.2 node does not know the name: then the first request decides.
    const isNameKnown = !socket.isSessionReused() || socket.getProtocol() !== 'TLSv1.2'
    let served = isNameKnown ? this.#find(socket.servername) : null
    return {
      certificate,
      fields: certificate !== null && this.#tls.clientAuth?.header === true ? fieldsOf(certificate) : null,
      covers: (host) => {
        const name = hostnameOf(host)
        served ??= this.#find(name)
        return served === undefined || this.#isFor(served, name)
      },
    }
  }

  // An arrow function: node calls it by itself.
  readonly #onServerName = (name: string, done: (error: Error | null, context?: SecureContext) => void): void => {
    let context: SecureContext | undefined
    try {
      const found = this.#find(name)
      // Without a context, the client gets the server's own.
      if (found !== undefined && found !== this.#tls.certificates[0]) context = this.#contextOf(found)
    } catch (error) {
      return done(error as Error)
    }
    done(null, context)
  }

  #onChallenge(name: string, done: (error: Error | null, context?: SecureContext) => void): void {
    const lower = name.toLowerCase()
    const challenge = this.#tls.challenges?.find(({ names }) => names.includes(lower))
    if (challenge === undefined) return done(new Error(`there is no ACME challenge for ${JSON.stringify(lower)}`))
    let context: SecureContext
    try {
      context = tls.createSecureContext(pairOf(challenge))
    } catch (error) {
      return done(error as Error)
    }
    done(null, context)
  }

  #find(name: string | false | null | undefined): ServedCertificate | undefined {
    const first = this.#tls.certificates[0]
    if (typeof name !== 'string') return first
    const lower = name.toLowerCase()
    const dot = lower.indexOf('.')
    return this.#exact.get(lower) ?? (dot > 0 ? this.#wildcards.get(lower.slice(dot)) : undefined) ?? first
  }

  #contextOf(certificate: ServedCertificate): SecureContext {
    let context = this.#contexts.get(certificate)
    this.#contexts.delete(certificate)
    context ??= tls.createSecureContext({ ...this.#tls.options, ...pairOf(certificate) })
    this.#contexts.set(certificate, context)
    if (this.#contexts.size > this.#most) this.#contexts.delete(this.#contexts.keys().next().value as ServedCertificate)
    return context
  }

  #isFor(certificate: ServedCertificate, name: string): boolean {
    let parsed = this.#parsed.get(certificate)
    if (parsed === undefined) {
      parsed = new X509Certificate(certificate.cert)
      this.#parsed.set(certificate, parsed)
    }
    return isFor(parsed, name)
  }

  #index(): void {
    this.#exact = new Map()
    this.#wildcards = new Map()
    for (const certificate of this.#tls.certificates) {
      for (const name of certificate.names) {
        const [index, key] = name.startsWith('*.') ? [this.#wildcards, name.slice(1)] : [this.#exact, name]
        // Of several certificates with one name, the first one serves it.
        if (!index.has(key)) index.set(key, certificate)
      }
    }
  }
}

function optionsOf({ options, certificates }: ListenerTls): tls.TlsOptions {
  return { ...options, ...pairOf(certificates[0]) }
}

function pairOf(certificate: ServedCertificate | undefined): tls.TlsOptions {
  return certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }
}

function keyOf({ cert, key, names }: ServedCertificate): string {
  return JSON.stringify([cert, key, names])
}

/** What all contexts depend on. The key of the tickets can be changed without another context. */
function contextKey({ options, clientAuth }: ListenerTls): string {
  const { ca, sessionIdContext } = options
  return JSON.stringify([String(ca), sessionIdContext, clientAuth])
}

function hostnameOf(host: string): string {
  return host.replace(/:\d*$/, '').replace(/^\[|\]$/g, '')
}

/** The fields of RFC 9440: byte sequences (RFC 8941) of DER. */
function fieldsOf(certificate: X509Certificate): HeaderList {
  const fields = ['Client-Cert', byteSequence(certificate.raw)]
  const chain = chainOf(certificate)
  if (chain.length > 0) fields.push('Client-Cert-Chain', chain.map(byteSequence).join(', '))
  return fields
}

function byteSequence(bytes: Buffer): string {
  return `:${bytes.toString('base64')}:`
}

/** The issuers that the client has sent, without a root, which has signed itself. node 24 does not know them. */
function chainOf({ issuerCertificate }: X509Certificate): Buffer[] {
  const chain: Buffer[] = []
  for (let one = issuerCertificate; one !== undefined && !one.checkIssued(one); one = one.issuerCertificate) {
    chain.push(one.raw)
  }
  return chain
}

const identities = new WeakMap<Socket, PeerIdentity>()

/** Notes the identity of a connection, for all fronts. */
export function noteIdentity(socket: Socket, identity: PeerIdentity): void {
  identities.set(socket, identity)
}

export function identityOf(socket: Socket): PeerIdentity | undefined {
  return identities.get(socket)
}
