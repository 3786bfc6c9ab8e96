import type { ListenAddress, Proxy } from '../index.ts'
import { DEFAULTS } from './file-options.ts'
import type { Listener } from './listeners.ts'
import { redirectToHttps } from './redirect.ts'
import type { Settings } from './settings.ts'

/** Where to listen unless the configuration says. */
export const DEFAULT_LISTENERS: readonly Listener[] = [{ port: DEFAULTS.port }]

/** What listens, in the order of the configuration. */
export interface Opened {
  readonly addresses: readonly (ListenAddress & { readonly redirect?: boolean })[]
  /** Closes what the proxy itself does not close. */
  close(): Promise<void>
}

/** Listens on every address. Rejects if one of them cannot be had; the proxy then still has to be closed. */
export async function openListeners(
  { proxy, options }: Pick<Settings, 'proxy' | 'options'>,
  listeners: readonly Listener[],
): Promise<Opened> {
  const responders = listeners.flatMap(({ acme }) => (acme?.challenge === 'http-01' ? [acme.responder] : []))
  const addresses: Opened['addresses'][number][] = []
  for (const [index, { port, host, tls, protocols, redirect, proxyProtocol }] of listeners.entries()) {
    if (redirect !== undefined) continue
    addresses[index] = await proxy.listen({
      port,
      ...(host !== undefined && { host }),
      ...(tls !== undefined && { tls }),
      ...(protocols !== undefined && { protocols }),
      ...(proxyProtocol !== undefined && { proxyProtocol }),
    })
  }
  // They need the port of the first listener with TLS, which may have been any free one.
  const secure = addresses[listeners.findIndex(({ tls }) => tls !== undefined)]
  const redirects: Proxy[] = []
  const close = async (): Promise<void> => {
    await Promise.all(redirects.map((one) => one.close()))
  }
  try {
    for (const [index, { port, host, redirect, proxyProtocol }] of listeners.entries()) {
      if (redirect === undefined || secure === undefined) continue
      const redirecting = redirectToHttps(secure.port, responders, options)
      redirects.push(redirecting)
      const address = await redirecting.listen({
        port,
        ...(host !== undefined && { host }),
        ...(proxyProtocol !== undefined && { proxyProtocol }),
      })
      addresses[index] = { ...address, redirect: true }
    }
  } catch (error) {
    await close()
    throw error
  }
  return { addresses, close }
}
