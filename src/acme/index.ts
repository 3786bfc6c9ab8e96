import type { AcmeOptions, CertificateProvider, Interceptor } from '../index.ts'
import { requestHook } from '../index.ts'
import { Authority } from './authority.ts'
import { Keeper } from './keeper.ts'
import { loadAcmeClient } from './load-acme-client.ts'
import { resolveAcmeOptions } from './options.ts'
import { Store } from './store.ts'

export type { AcmeOptions }

/** Certificates by ACME (RFC 8555), for `tls.certificates` of `proxy.listen()`. */
export interface AcmeCertificates extends CertificateProvider {
  /** How the authority sees that the names are yours. */
  readonly challenge: 'tls-alpn-01' | 'http-01'
  /**
   * Responds to the authority's requests for the challenge http-01. It must be an interceptor of every request that comes to port 80. It
   * works in the thread that called `acme()`; with `workerThreads()`, let another proxy listen on port 80.
   */
  readonly responder: Interceptor
}

const CHALLENGE_PATH = '/.well-known/acme-challenge/'

/**
 * Orders certificates, keeps them in a folder, and renews them when two thirds of their life are over. Orders are made by the package
 * acme-client, which the application installs.
 * @throws OptionsError for wrong options; Error if acme-client is not installed.
 */
export function acme(options: AcmeOptions): AcmeCertificates {
  const resolved = resolveAcmeOptions(options)
  const { names, folder, directory, challenge } = resolved
  const store = new Store(folder, directory)
  const authority = new Authority(loadAcmeClient(), resolved, store)
  const keeper = new Keeper(names, store, (...order) => authority.order(...order))
  let hasResponder = false
  const responder = requestHook((_request, { path }) => {
    if (!path.startsWith(CHALLENGE_PATH)) return undefined
    const text = keeper.tokens.get(path.slice(CHALLENGE_PATH.length))
    if (text === undefined) return undefined
    return new Response(text, { headers: { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' } })
  })
  return {
    challenge,
    get responder() {
      hasResponder = true
      return responder
    },
    open(listener) {
      if (challenge === 'http-01' && !hasResponder) {
        const message = "acme: the challenge is http-01, but `responder` is among no route's interceptors"
        throw new Error(`${message}; put it in those of the proxy on port 80, before this one listens`)
      }
      return keeper.open(listener)
    },
  }
}
