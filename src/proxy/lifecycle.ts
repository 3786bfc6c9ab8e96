import type { Assembled } from './assemble.ts'
import type { Listeners } from './listeners.ts'
import type { Requests } from './requests.ts'
import type { Serving } from './serving.ts'

/** The parts that {@link Lifecycle} closes. */
export interface LifecycleDeps {
  readonly assembled: Assembled
  readonly requests: Requests
  readonly listeners: Listeners
  readonly serving: Serving
  readonly drainTimeoutMs: number
}

/** Closes a proxy, once. */
export class Lifecycle {
  readonly #deps: LifecycleDeps
  #closing: Promise<void> | null = null

  constructor(deps: LifecycleDeps) {
    this.#deps = deps
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { assembled, requests, listeners, serving, drainTimeoutMs } = this.#deps
    const { core, groups, accessLog } = assembled
    const { activity, clock, deadlines, observers } = core.services
    const closeServing = serving.stop()
    let cancel = (): void => {}
    const timeIsOver = new Promise<void>((resolve) => {
      cancel = clock.schedule(drainTimeoutMs, resolve)
    })
    // Before any response announces the end of its connection: its client would reconnect to a listener that is about to stop.
    await listeners.stopAccepting()
    activity.isClosing = true
    const closed = closeServing()
    requests.goAway()
    await Promise.race([timeIsOver, this.#untilDrained(closed)])
    cancel()
    activity.close()
    requests.destroy()
    listeners.closeAllConnections()
    await Promise.all([...closed, groups.close()])
    deadlines.close()
    await accessLog?.close()
    observers.notify('onClose')
  }

  /** Resolves when the proxy's listeners have no connection and no exchange runs. */
  async #untilDrained(closed: readonly Promise<void>[]): Promise<void> {
    const { activity } = this.#deps.assembled.core.services
    await Promise.allSettled(closed)
    while (activity.active > 0) {
      await new Promise<void>((resolve) => {
        activity.onIdle = resolve
      })
    }
  }
}
