import type { Jwk } from './jwt-options.ts'
import type { loadJose } from './load-jose.ts'

type Jose = ReturnType<typeof loadJose>

/** Finds the key of a token, as jose asks for it; or the one secret. */
export type Keys = ReturnType<Jose['createLocalJWKSet']> | Uint8Array

/** Where the keys come from. */
export interface KeySource {
  /** The keys, if they need not be waited for; else `null`. Old ones are loaded again in the background. */
  current(): Keys | null
  /** The keys. @throws KeysUnavailable, as a rejection, if there are none that may be used. */
  get(): Promise<Keys>
  /**
   * The keys, loaded again because a token names one that is not among them; `null` if they were loaded a moment ago.
   * @throws KeysUnavailable, as a rejection, if they cannot be loaded.
   */
  renew(): Promise<Keys | null>
  /** Whether no other keys have come since these. */
  isLatest(keys: Keys): boolean
}

/** There are no keys to verify a token with. */
export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable'
}

/** Keys that do not change. */
export function fixedKeys(keys: Keys): KeySource {
  return { current: () => keys, get: async () => keys, renew: async () => null, isLatest: () => true }
}

/** Limits of {@link remoteKeys}, ms. */
export interface RemoteKeysOptions {
  readonly jwksMaxAgeMs: number
  readonly jwksMaxStaleMs: number
  readonly jwksTimeoutMs: number
}

/** After a failure keys are not asked for again for this time, ms. */
const RETRY_MS = 1000
/** Tokens with a key that is not there do not load the keys again before this time, ms: anybody can make such tokens. */
const COOLDOWN_MS = 10_000

/** The keys of a JSON Web Key Set at `url`. @param onChange called when they are not the same as before. */
export function remoteKeys(
  { createLocalJWKSet }: Jose,
  url: URL,
  { jwksMaxAgeMs, jwksMaxStaleMs, jwksTimeoutMs }: RemoteKeysOptions,
  now: () => number,
  onChange: () => void,
): KeySource {
  let keys: Keys | null = null
  let text = ''
  let loadedAt = Number.NEGATIVE_INFINITY
  let triedAt = Number.NEGATIVE_INFINITY
  let failure: unknown = null
  let loading: Promise<void> | null = null

  async function load(): Promise<void> {
    const startedAt = now()
    triedAt = startedAt
    try {
      const signal = AbortSignal.timeout(jwksTimeoutMs)
      const headers = { Accept: 'application/jwk-set+json, application/json' }
      const response = await fetch(url, { redirect: 'manual', headers, signal })
      if (response.status !== 200) {
        await response.body?.cancel()
        throw new Error(`status ${response.status}`)
      }
      const loaded = await response.text()
      if (loaded !== text) {
        keys = createLocalJWKSet(JSON.parse(loaded))
        text = loaded
        onChange()
      }
      loadedAt = startedAt
      failure = null
    } catch (error) {
      failure = error
    } finally {
      loading = null
    }
  }

  /** Begins to load, unless that has just failed. */
  function start(): Promise<void> | null {
    if (loading === null && (failure === null || now() - triedAt >= RETRY_MS)) loading = load()
    return loading
  }

  function current(): Keys | null {
    const age = now() - loadedAt
    if (age >= jwksMaxAgeMs) start()
    return age < 2 * jwksMaxAgeMs ? keys : null
  }

  function unavailable(): KeysUnavailable {
    const message = `no keys from ${url.origin}${url.pathname}: ${reasonOf(failure)}`
    return new KeysUnavailable(message, { cause: failure })
  }

  return {
    current,
    async get() {
      if (current() === null) await start()
      const usableMs = jwksMaxAgeMs + Math.max(jwksMaxAgeMs, jwksMaxStaleMs)
      if (keys === null || now() - loadedAt >= usableMs) throw unavailable()
      return keys
    },
    async renew() {
      if (loading === null && failure === null && now() - triedAt < COOLDOWN_MS) return null
      await start()
      // The token may be a good one, with a new key.
      if (failure !== null) throw unavailable()
      return keys
    },
    isLatest: (some) => some === keys,
  }
}

/** Keys that were given. */
export function localKeys({ createLocalJWKSet }: Jose, keys: readonly Jwk[]): Keys {
  return createLocalJWKSet({ keys } as Parameters<Jose['createLocalJWKSet']>[0])
}

function reasonOf(failure: unknown): string {
  if (!(failure instanceof Error)) return String(failure)
  // fetch() says `fetch failed`, and has the reason in its cause.
  return failure.cause instanceof Error ? `${failure.message}: ${failure.cause.message}` : failure.message
}
