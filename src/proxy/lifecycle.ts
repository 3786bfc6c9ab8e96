import type { Built } from './assemble.ts'
import type { Listeners } from './listeners.ts'
import type { Requests } from './requests.ts'
import type { Serving } from './serving.ts'

/** What {@link Lifecycle} ends. */
export interface LifecycleDeps {
  readonly built: Built
  readonly requests: Requests
  readonly listeners: Listeners
  readonly serving: Serving
  readonly drainTimeoutMs: number
}

/** The end of a proxy. */
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
    const { built, requests, listeners, serving, drainTimeoutMs } = this.#deps
    const { parts, groups, accessLog } = built
    const { state, clock } = parts
    const closeServing = serving.stop()
    let cancel = (): void => {}
    const timeIsOver = new Promise<void>((resolve) => {
      cancel = clock.schedule(drainTimeoutMs, resolve)
    })
    // Before a response says that its connection ends: its client would come back, and find nobody.
    await listeners.stopAccepting()
    state.isClosing = true
    const closed = closeServing()
    requests.goAway()
    await Promise.race([timeIsOver, this.#untilDrained(closed)])
    cancel()
    state.isClosed = true
    requests.destroy()
    listeners.closeAllConnections()
    await Promise.all([...closed, groups.close()])
    parts.deadlines.close()
    await accessLog?.close()
    parts.events.emit('close')
  }

  /** Resolves when our listeners have no connection, and no exchange runs anywhere. */
  async #untilDrained(closed: readonly Promise<void>[]): Promise<void> {
    const { state } = this.#deps.built.parts
    await Promise.allSettled(closed)
    while (state.active > 0) {
      await new Promise<void>((resolve) => {
        state.onIdle = resolve
      })
    }
  }
}
