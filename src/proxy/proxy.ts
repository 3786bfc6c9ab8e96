import type { EventEmitter } from 'eventemitter3'
import type { ResolvedOptions } from '../config/options.ts'
import type { Events } from '../observers/events.ts'
import type { ThreadContext } from '../threads/context.ts'
import { localProxies } from '../threads/local-proxies.ts'
import type { ThreadedWork } from '../threads/protocol.ts'
import { assemble } from './assemble.ts'
import { BackendChanges } from './backend-changes.ts'
import { Lifecycle } from './lifecycle.ts'
import { Listeners } from './listeners.ts'
import { localProxy } from './local-proxy.ts'
import { Requests } from './requests.ts'
import { Serving } from './serving.ts'
import { proxyStats } from './stats.ts'
import type { Proxy } from './types.ts'
import { Updates } from './update.ts'

/**
 * Creates the {@link Proxy} of an application. Each of its methods delegates to one part.
 * @param work `null` if no threads serve it.
 */
export function makeProxy(resolved: ResolvedOptions, context: ThreadContext, work: ThreadedWork | null): Proxy {
  const { name, executor, drainTimeoutMs } = resolved
  const assembled = assemble(resolved, context)
  const { core, groups } = assembled
  const { services } = core
  const requests = new Requests(core, groups)
  const listeners = new Listeners(core, requests, drainTimeoutMs)
  const serving = new Serving({ assembled, listeners, executor, work, drainTimeoutMs })
  const backends = new BackendChanges(services.clock, groups, serving)
  const updates = new Updates(resolved, assembled, serving)
  const lifecycle = new Lifecycle({ assembled, requests, listeners, serving, drainTimeoutMs })
  const emitter = emitterOf(assembled.events)

  const proxy: Proxy = {
    web: requests.web,
    ws: requests.ws,
    attach(server) {
      requests.attach(server)
      return proxy
    },
    middleware: (options) => requests.middleware(options),
    listen: (where) => serving.listen(where),
    on(event, listener) {
      emitter.on(event, listener)
      serving.updateSubscriptions()
      return proxy
    },
    once(event, listener) {
      emitter.once(event, listener)
      serving.updateSubscriptions()
      return proxy
    },
    off(event, listener) {
      emitter.off(event, listener)
      serving.updateSubscriptions()
      return proxy
    },
    stats: () => proxyStats(name, services.activity, groups.named, serving),
    update: (options) => updates.update(options),
    setBackends: (inits, group) => backends.set(inits, group),
    replaceCertificate: (certificate) => serving.replaceCertificate(certificate),
    reloadCertificates: () => serving.reloadCertificates(),
    drain: (backend, group) => backends.drain(backend, group),
    undrain: (backend, group) => backends.undrain(backend, group),
    disable: (backend, group) => backends.setDisabled(true, backend, group),
    enable: (backend, group) => backends.setDisabled(false, backend, group),
    reload: () => serving.reload(),
    close: () => lifecycle.close(),
    [Symbol.asyncDispose]: () => lifecycle.close(),
  }
  if (context.thread > 0) {
    const { namespace } = context
    localProxies.push(
      localProxy({
        namespace,
        services,
        events: assembled.events,
        groups,
        requests,
        listeners,
        backends,
        updates,
        close: proxy.close,
      }),
    )
  }
  return proxy
}

/** eventemitter3's types cannot follow a generic event name. */
function emitterOf(events: Events): EventEmitter<string> {
  return events.emitter as unknown as EventEmitter<string>
}
