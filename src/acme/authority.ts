import { Agent } from 'node:https'
import { setTimeout } from 'node:timers/promises'
import type * as AcmeClient from 'acme-client'
import { describeError } from '../runtime/describe-error.ts'
import type { ResolvedAcmeOptions } from './options.ts'
import type { Store } from './store.ts'

type Client = AcmeClient.Client
type Authorization = AcmeClient.Authorization
type Challenge = Authorization['challenges'][number]

/** A challenge, to be shown to the authority. */
export interface Proof {
  readonly name: string
  readonly token: string
  readonly keyAuthorization: string
  /** For tls-alpn-01: a certificate and its key, in PEM. */
  readonly certificate: { readonly cert: string; readonly key: string } | null
}

/** How long one request to the authority may take, ms. */
const REQUEST_MS = 30_000
const MOST_RESPONSE_BYTES = 1 << 20
/** An order is looked at again after this time, which grows by a half up to the longest one. Together they are about five minutes, ms. */
const POLL_MS = 250
const LONGEST_POLL_MS = 5_000
const POLLS = 70

/** The authority refuses, or cannot work now. */
export class AcmeProblem extends Error {
  override readonly name = 'AcmeProblem'
  /** When it may be asked again, ms from now; 0 if it has not said. */
  readonly retryAfterMs: number

  constructor(message: string, retryAfterMs: number) {
    super(message)
    this.retryAfterMs = retryAfterMs
  }
}

/** An account with an authority, by acme-client. */
export class Authority {
  readonly #library: typeof AcmeClient
  readonly #options: ResolvedAcmeOptions
  readonly #store: Store
  /** Its account is known. */
  #client: Client | null = null
  /** Of the order that is running. */
  #signal: AbortSignal | null = null

  constructor(library: typeof AcmeClient, options: ResolvedAcmeOptions, store: Store) {
    this.#library = library
    this.#options = options
    this.#store = store
  }

  /**
   * Orders a certificate. One call at a time.
   * @param show serves a challenge. Resolves, when every thread does, to a function that takes it back.
   * @returns its key and itself with its intermediate ones, in PEM.
   */
  async order(name: string, show: (proof: Proof) => Promise<() => void>, signal: AbortSignal): Promise<string> {
    this.#signal = signal
    try {
      this.#client ??= await this.#open()
      return await this.#orderBy(this.#client, name, show, signal)
    } catch (error) {
      // The authority may have forgotten the account.
      this.#client = null
      throw error
    }
  }

  async #open(): Promise<Client> {
    const { directory, email, eab } = this.#options
    const accountKey = await this.#accountKey()
    const client = new this.#library.Client({
      directoryUrl: directory,
      accountKey,
      ...(eab !== null && { externalAccountBinding: { kid: eab.keyId, hmacKey: eab.hmacKey } }),
    })
    this.#sendBy(client)
    // The authority finds an account that is there by its key.
    await client.createAccount({ termsOfServiceAgreed: true, ...(email !== null && { contact: [`mailto:${email}`] }) })
    return client
  }

  async #accountKey(): Promise<string> {
    const stored = this.#store.read({ account: true })
    if (stored !== null) return stored
    const key = String(await this.#library.crypto.createPrivateEcdsaKey())
    this.#store.write({ account: true }, key)
    return key
  }

  /**
   * Sends the client's requests in our own way: its own sends all of a process's with the same authorities of TLS, repeats
   * requests for minutes, and loses the reason if the server cannot be reached.
   */
  #sendBy(client: Client): void {
    const { ca, directory } = this.#options
    const axios = this.#library.axios.create({
      ...(ca !== null && { httpsAgent: new Agent({ ca }) }),
      timeout: REQUEST_MS,
      maxContentLength: MOST_RESPONSE_BYTES,
      validateStatus: () => true,
    })
    const { http } = client as unknown as {
      http: { request(url: string, method: string, options?: Sent): Promise<Answer> }
    }
    http.request = async (url, method, { headers, data } = {}) => {
      const type = { 'Content-Type': 'application/jose+json' }
      let answer: Answer
      try {
        answer = await axios({
          url,
          method,
          data,
          headers: { ...headers, ...type },
          ...(this.#signal && { signal: this.#signal }),
        })
      } catch (cause) {
        throw unreachable(url, cause)
      }
      const isDirectory = url === directory && method === 'get'
      const problem = problemOf(answer)
      // The client repeats that by itself.
      if (problem?.type === BAD_NONCE) return answer
      const what = isDirectory ? `the directory ${url}` : `${method.toUpperCase()} ${url}`
      if (problem !== null) throw new AcmeProblem(`${problem.text} (${what})`, problem.retryAfterMs)
      if (isDirectory && !isRecordWith(answer.data, 'newOrder')) throw new Error(`${url} is not an ACME directory`)
      return answer
    }
  }

  async #orderBy(
    client: Client,
    name: string,
    show: (proof: Proof) => Promise<() => void>,
    signal: AbortSignal,
  ): Promise<string> {
    const order = await client.createOrder({ identifiers: [{ type: 'dns', value: name }] })
    const takeBack: (() => void)[] = []
    try {
      for (const authorization of await client.getAuthorizations(order)) {
        // The authority may remember an earlier one.
        if (authorization.status === 'valid') continue
        takeBack.push(await this.#prove(client, authorization, show))
      }
      const proven = await this.#until(
        () => client.getAuthorizations(order),
        (all) => all.every(({ status }) => status !== 'pending'),
        signal,
      )
      const refused = proven.find(({ status }) => status !== 'valid')
      if (refused !== undefined) throw new Error(whyRefused(refused))
    } finally {
      for (const one of takeBack) one()
    }
    const key = String(await this.#library.crypto.createPrivateEcdsaKey())
    const [, request] = await this.#library.crypto.createCsr({ altNames: [name] }, key)
    await client.finalizeOrder(order, request)
    const issued = await this.#until(
      () => client.getOrder(order),
      ({ status }) => status === 'valid' || status === 'invalid',
      signal,
    )
    if (issued.status === 'invalid') throw new Error(`the order is invalid: ${describeProblem(issued.error)}`)
    const certificate = await client.getCertificate(issued)
    return `${key.trim()}\n${certificate}`
  }

  async #prove(
    client: Client,
    authorization: Authorization,
    show: (proof: Proof) => Promise<() => void>,
  ): Promise<() => void> {
    const { challenge: type } = this.#options
    const name = authorization.identifier.value
    const challenge = authorization.challenges.find((one) => one.type === type)
    try {
      if (challenge === undefined) {
        const offered = authorization.challenges.map((one) => one.type).join(', ')
        throw new Error(`the authority does not offer the challenge ${type}, but ${offered}; set the option challenge`)
      }
      const takeBack = await show(await this.#proofOf(client, name, challenge, authorization))
      try {
        await client.completeChallenge(challenge)
      } catch (error) {
        takeBack()
        throw error
      }
      return takeBack
    } catch (error) {
      // Authorities limit how many are left open.
      await client.deactivateAuthorization(authorization).catch(ignore)
      throw error
    }
  }

  async #proofOf(client: Client, name: string, challenge: Challenge, authorization: Authorization): Promise<Proof> {
    const keyAuthorization = await client.getChallengeKeyAuthorization(challenge)
    if (challenge.type === 'http-01') return { name, token: challenge.token, keyAuthorization, certificate: null }
    const { crypto } = this.#library
    const [key, cert] = await crypto.createAlpnCertificate(
      authorization,
      keyAuthorization,
      await crypto.createPrivateEcdsaKey(),
    )
    return { name, token: challenge.token, keyAuthorization, certificate: { cert: String(cert), key: String(key) } }
  }

  async #until<T>(get: () => Promise<T>, isDone: (item: T) => boolean, signal: AbortSignal): Promise<T> {
    let ms = POLL_MS
    for (let polls = 0; polls < POLLS; polls++) {
      const item = await get()
      if (isDone(item)) return item
      await setTimeout(ms, undefined, { signal, ref: false })
      ms = Math.min(ms * 1.5, LONGEST_POLL_MS)
    }
    throw new Error('the authority has not decided about the order within five minutes')
  }
}

interface Sent {
  readonly headers?: object
  readonly data?: unknown
}

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly data: unknown
}

const BAD_NONCE = 'urn:ietf:params:acme:error:badNonce'
const MOST_TEXT = 500

/** Codes of errors by which node says that it does not trust a server. */
const UNTRUSTED = /^(?:UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_)/

function unreachable(url: string, cause: unknown): Error {
  const code = String((cause as NodeJS.ErrnoException | null)?.code)
  const hint = UNTRUSTED.test(code) ? '; if it is a private one, the option ca tells whose certificates it has' : ''
  return new Error(`the authority cannot be reached: ${describeError(cause)}${hint} (${url})`, { cause })
}

/** What the authority says, if it refuses (RFC 8555 section 6.7). */
function problemOf({ status, headers, data }: Answer): { type: string; text: string; retryAfterMs: number } | null {
  if (status < 400) return null
  const type = isRecordWith(data, 'type') ? String(data.type) : ''
  const text = `${describeProblem(data)}, HTTP status ${status}`
  return { type, text, retryAfterMs: retryAfter(headers['retry-after']) }
}

function describeProblem(problem: unknown): string {
  if (!isRecordWith(problem, 'type')) return 'the authority gives no reason'
  const { type, detail } = problem as { type: unknown; detail?: unknown }
  return oneLine(`${String(detail ?? 'no detail')} (${String(type).replace('urn:ietf:params:acme:error:', '')})`)
}

function whyRefused({ identifier, status, challenges }: Authorization): string {
  const failed = challenges.find(({ error }) => error !== undefined && error !== null)
  const why = failed === undefined ? `it is ${status}` : `${failed.type}: ${describeProblem(failed.error)}`
  return `the authority did not find ${identifier.value} here: ${why}`
}

/** What others have written, for a log line. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  return text.replace(/[\s\x00-\x1f\x7f]+/g, ' ').slice(0, MOST_TEXT)
}

/** A header Retry-After, in ms; 0 if there is none. */
function retryAfter(value: unknown): number {
  const text = String(value ?? '')
  if (/^\d+$/.test(text)) return Number(text) * 1000
  const at = Date.parse(text)
  return Number.isNaN(at) ? 0 : Math.max(0, at - Date.now())
}

function isRecordWith(value: unknown, key: string): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && key in value
}

function ignore(): void {}
