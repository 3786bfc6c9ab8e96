import type { Services } from '../exchange/services.ts'
import type { Events } from '../observers/events.ts'
import { eventForwarder } from '../threads/bridge.ts'
import type { LocalProxy } from '../threads/local-proxies.ts'
import type { ProxyGroups } from './assemble.ts'
import type { BackendChanges } from './backend-changes.ts'
import type { Listeners } from './listeners.ts'
import type { Requests } from './requests.ts'
import type { Proxy } from './types.ts'
import type { Updates } from './update.ts'

/** The parts that {@link localProxy} uses. */
export interface LocalProxyDeps {
  readonly namespace: string
  readonly services: Services
  readonly events: Events
  readonly groups: ProxyGroups
  readonly requests: Requests
  readonly listeners: Listeners
  readonly backends: BackendChanges
  readonly updates: Updates
  readonly close: Proxy['close']
}

/** The interface of a proxy to the thread in which it was created. */
export function localProxy(deps: LocalProxyDeps): LocalProxy {
  const { namespace, services, events, groups, requests, listeners, backends, updates, close } = deps
  return {
    namespace,
    createServer: (listen) => listeners.open(listen),
    pools: () => groups.named.map((group) => ({ proxy: namespace, group: group.name, pool: group.poolStats() })),
    goAway() {
      services.activity.isClosing = true
      requests.goAway()
    },
    close,
    subscribe: eventForwarder(events),
    change(change, isNew) {
      if ('tls' in change) return listeners.changeTls(change.tls)
      return 'options' in change ? updates.apply(change, isNew) : backends.apply(change, isNew)
    },
  }
}
