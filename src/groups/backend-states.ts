import { Backend, type BackendInit } from '../model/backend.ts'
import type { GroupState } from '../runtime/group-state.ts'
import type { StateMemory } from '../runtime/state-memory.ts'

/** The memory of a proxy's state, and the role of its thread. */
export interface StateContext {
  /** Distinguishes the proxies of a thread; the same in each thread that runs the same module. */
  readonly namespace: string
  readonly memory: StateMemory
  /** The thread's number; 0: not a thread of an executor. */
  readonly thread: number
  /** Whether this thread clears old state when a backend is added. If threads share the state, only one of them does. */
  readonly clearsState: boolean
}

/** A group's name and current backends. */
export interface GroupBackends {
  readonly name: string
  readonly backends: readonly Backend[]
}

/**
 * Finds the state of each backend by its group, id and URL. So a change of weight, metadata or TLS settings keeps the pending count,
 * ejection, draining and health. A backend with another URL under the same id starts with new state.
 */
export class BackendStates {
  readonly #context: StateContext
  /** State names of the backends in the proxy's first options. */
  readonly #lasting = new Set<string>()
  /** Backends that no thread picks any more, by state name. */
  readonly #gone = new Map<string, Backend>()

  constructor(context: StateContext) {
    this.#context = context
  }

  get isShared(): boolean {
    return this.#context.memory.isShared
  }

  /**
   * A backend of the group for each of `inits`. One of `present` is reused if it was created from the identical init object.
   * @throws RangeError if there is no room for the state of all of them; then no room is taken.
   */
  make(group: GroupBackends, inits: readonly BackendInit[], present: readonly Backend[] = []): Backend[] {
    const known = new Map(present.map((backend) => [backend.init, backend]))
    const made: Backend[] = []
    try {
      return inits.map((init) => {
        const backend = known.get(init)
        if (backend !== undefined) return backend
        const created = new Backend(init, (one) => this.#context.memory.backendState(this.#nameOf(group.name, one)))
        made.push(created)
        return created
      })
    } catch (error) {
      // Release the room of those that were created.
      this.leave(group.name, made, group.backends)
      throw error
    }
  }

  ofGroup(group: string): GroupState {
    return this.#context.memory.groupState(`${this.#context.namespace} group ${group}`)
  }

  /** Marks state that is never released, because threads that start later ask for it. */
  keep(group: string, backends: readonly Backend[]): void {
    for (const backend of backends) this.#lasting.add(this.#nameOf(group, backend))
  }

  /** A backend was added: clears its state, which may be left from an earlier backend. */
  begin(backend: Backend): void {
    if (this.#context.clearsState) backend.state.clear()
  }

  /** The group has `backend` (again), so its state is in use. */
  hasReturned(group: string, backend: Backend): void {
    if (this.#gone.size > 0) this.#gone.delete(this.#nameOf(group, backend))
  }

  /** No thread will pick these backends any more. @param present the backends that the group has now. */
  leave(group: string, backends: readonly Backend[], present: readonly Backend[]): void {
    if (backends.length === 0 || this.#context.thread !== 0) return
    const there = new Set(present.map((backend) => this.#nameOf(group, backend)))
    for (const backend of backends) {
      const name = this.#nameOf(group, backend)
      if (!there.has(name) && !this.#lasting.has(name)) this.#gone.set(name, backend)
    }
  }

  /**
   * Releases the state of backends that had left and have nothing pending. Call it before a change of backends.
   * @returns a function to call after every thread has made the change: by then each thread has made its last write to that state.
   */
  giveBack(): () => void {
    if (this.#context.thread !== 0) return nothing
    const over = Array.from(this.#gone).filter(([, backend]) => backend.pending === 0)
    return () => {
      for (const [name, backend] of over) {
        if (this.#gone.get(name) !== backend) continue
        this.#gone.delete(name)
        this.#context.memory.release(name)
      }
    }
  }

  #nameOf(group: string, { id, url }: Backend): string {
    return `${this.#context.namespace} group ${group} backend ${id} ${url.href}`
  }
}

function nothing(): void {}
