import { removalFault } from '../config/consistency.ts'
import type { ProxyOptions, ResolvedOptions } from '../config/options.ts'
import { OptionsError } from '../config/options-error.ts'
import { resolveOptions } from '../config/resolve.ts'
import { threadOptions } from '../config/thread-options.ts'
import type { Snapshot } from '../exchange/snapshot.ts'
import type { Group } from '../groups/group.ts'
import type { GoneBackend, Prepared } from '../groups/registry.ts'
import { ProxyError } from '../model/errors.ts'
import { describeError } from '../runtime/describe-error.ts'
import { until } from '../runtime/until.ts'
import type { OptionsChange } from '../threads/protocol.ts'
import type { Assembled } from './assemble.ts'
import { backendsOf, planOf, withLasting } from './plan.ts'
import type { Serving } from './serving.ts'
import { takeSnapshot } from './take-snapshot.ts'
import type { Changes, UpdatePlan, UpdateResult } from './types.ts'

/** The changes that {@link Updates} has made in this thread. */
interface Applied {
  readonly plan: UpdatePlan
  readonly gone: readonly GoneBackend[]
  releaseStates(): void
}

/** Replaces the configuration of a proxy at run time. */
export class Updates {
  readonly #assembled: Assembled
  readonly #serving: Serving
  #now: ResolvedOptions

  constructor(resolved: ResolvedOptions, assembled: Assembled, serving: Serving) {
    this.#now = resolved
    this.#assembled = assembled
    this.#serving = serving
  }

  update(options: ProxyOptions): UpdateResult {
    const { services, snapshot } = this.#assembled.core
    if (this.#serving.isClosed) {
      throw new ProxyError('ERR_PROXY_CLOSED', 'the proxy is closed and cannot be updated')
    }
    const removal = this.#assembled.groups.named.some(({ backends }) => backends.length > 0)
      ? removalFault(options)
      : null
    if (removal !== null) throw new OptionsError([removal])
    const next = resolveOptions(options, this.#now.clock)
    // Throws if it cannot be sent to threads: then nothing changes here either.
    const sent = this.#serving.hasThreads ? threadOptions(options) : {}
    const version = snapshot.version + 1
    const { plan, gone, releaseStates } = this.#apply(options, next, version, true)
    services.logger.info({ version, plan: countsOf(plan) }, `updated the options, version ${version}`)
    const applied = this.#serving.change({ options: sent, version }).then(releaseStates)
    const drained = applied.then(() => this.#untilDrained(gone))
    applied.catch((error) =>
      services.logger.error(
        { err: error, version },
        `not every thread has version ${version}: ${describeError(error)}`,
      ),
    )
    // It rejects with the same error as `applied`, which is logged above.
    drained.catch(() => {})
    return { version, plan, applied, drained }
  }

  /** In a thread: applies a change from the main thread. @returns true, because the thread has no other proxy. */
  apply({ options, version }: OptionsChange, isNew: boolean): boolean {
    const given = options as unknown as ProxyOptions
    this.#apply(given, resolveOptions(given, this.#now.clock), version, isNew)
    return true
  }

  /** Applies the options in this thread. @throws if a part cannot be created; then nothing has changed. */
  #apply(asked: ProxyOptions, resolved: ResolvedOptions, version: number, isNew: boolean): Applied {
    const { core, groups } = this.#assembled
    const now = this.#now
    const next = withLasting(resolved, now)
    const prepared = groups.prepare(next.groups)
    const snapshot = this.#snapshot(version, next, prepared)
    const before = backendsOf(groups.named)
    const { gone, releaseStates } = prepared.commit(isNew)
    core.snapshot = snapshot
    this.#now = next
    return { plan: planOf(asked, now, resolved, before, backendsOf(groups.named)), gone, releaseStates }
  }

  #snapshot(version: number, next: ResolvedOptions, { groups, discard }: Prepared): Snapshot {
    try {
      return takeSnapshot(version, next, (name) => groups.get(name) as Group)
    } catch (error) {
      discard()
      throw error
    }
  }

  async #untilDrained(gone: readonly GoneBackend[]): Promise<void> {
    const { core, groups } = this.#assembled
    // A backend that was added back shares its numbers with the removed one.
    const isBack = ({ group, backend }: GoneBackend): boolean =>
      groups.named.some(({ name, backends }) => name === group && backends.some((one) => one.isSame(backend)))
    await until(core.services.clock, () => gone.every((one) => one.backend.pending === 0 || isBack(one)))
  }
}

/** Counts of each kind of change, without the unchanged, for the log. */
function countsOf({ groups, backends, routes, options, restart }: UpdatePlan): object {
  const counts = ({ added, removed, changed }: Changes<unknown>): object => {
    return { added: added.length, removed: removed.length, changed: changed.length }
  }
  return { groups: counts(groups), backends: counts(backends), routes: counts(routes), options, restart }
}
