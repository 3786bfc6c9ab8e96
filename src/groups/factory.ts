import type { Logger } from '../contracts/logger.ts'
import type { BackendChange } from '../contracts/observer.ts'
import type { Pool } from '../contracts/pool.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import type { BackendStates } from './backend-states.ts'
import { Group } from './group.ts'
import type { GroupSettings } from './group-deps.ts'
import { notices } from './notices.ts'

/** The parts that {@link GroupFactory} uses. */
export interface FactoryDeps<Settings extends GroupSettings> {
  readonly clock: Clock
  readonly logger: Logger
  readonly onBackend: (change: BackendChange) => void
  makePool(settings: Settings): Pool
}

/** Creates groups. */
export class GroupFactory<Settings extends GroupSettings> {
  readonly #deps: FactoryDeps<Settings>

  constructor(deps: FactoryDeps<Settings>) {
    this.#deps = deps
  }

  /**
   * Creates a group.
   * @param backends default: those of the settings.
   * @param pool default: a new one.
   */
  build(settings: Settings, states: BackendStates, backends?: readonly Backend[], pool?: Pool): Group {
    const { clock, logger, onBackend, makePool } = this.#deps
    const { name, balancer, affinity, healthCheck, maxEjectedPercent, slowStartMs, retry } = settings
    return new Group({
      ...{ name, balancer, affinity, healthCheck, maxEjectedPercent, slowStartMs, retry, clock },
      backends: backends ?? states.make({ name, backends: [] }, settings.backends),
      pool: pool ?? makePool(settings),
      state: states.ofGroup(name),
      isShared: states.isShared,
      ...notices(name, logger, onBackend),
    })
  }
}
