import { Backend, type BackendInit } from '../model/backend.ts'
import type { GroupState } from '../runtime/group-state.ts'
import type { StateMemory } from '../runtime/state-memory.ts'

/** Where a proxy's state lies, and what part its thread has in that. */
export interface StateContext {
  /** Distinguishes the proxies of a thread, alike in each thread that runs the same module. */
  readonly namespace: string
  readonly memory: StateMemory
  /** The thread's number; 0: none of an executor's. */
  readonly thread: number
  /** Clears what the state of backends that come says of earlier ones; if threads share it, one does it for all. */
  readonly clearsState: boolean
}

/** A group, by its name and what it has now. */
export interface GroupBackends {
  readonly name: string
  readonly backends: readonly Backend[]
}

/**
 * Which state belongs to which backend: the one of its group, id and URL. So a change of weight, metadata or TLS settings keeps what
 * is pending, ejection, draining and health, and a backend with another URL under the same id begins with nothing.
 */
export class BackendStates {
  readonly #context: StateContext
  /** Names of the state of backends that the options have. */
  readonly #lasting = new Set<string>()
  /** Backends that no thread picks any more, by the names of their state. */
  readonly #gone = new Map<string, Backend>()

  constructor(context: StateContext) {
    this.#context = context
  }

  get isShared(): boolean {
    return this.#context.memory.isShared
  }

  /**
   * A backend of the group for each of `inits`; one of `present` where that was made from the very same.
   * @throws RangeError if there is no room for the state of all of them; then none has any.
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
      // Those that had room leave it again.
      this.leave(group.name, made, group.backends)
      throw error
    }
  }

  ofGroup(group: string): GroupState {
    return this.#context.memory.groupState(`${this.#context.namespace} group ${group}`)
  }

  /** Threads that begin later ask for the state of these: it is never given back. */
  keep(group: string, backends: readonly Backend[]): void {
    for (const backend of backends) this.#lasting.add(this.#nameOf(group, backend))
  }

  /** `backend` has come. State outlives the backend that had it. */
  begin(backend: Backend): void {
    if (this.#context.clearsState) backend.state.clear()
  }

  /** The group has `backend` again. */
  hasReturned(group: string, backend: Backend): void {
    if (this.#gone.size > 0) this.#gone.delete(this.#nameOf(group, backend))
  }

  /** No thread picks these, and none will; `present` are those that the group has. */
  leave(group: string, backends: readonly Backend[], present: readonly Backend[]): void {
    if (backends.length === 0 || this.#context.thread !== 0) return
    const there = new Set(present.map((backend) => this.#nameOf(group, backend)))
    for (const backend of backends) {
      const name = this.#nameOf(group, backend)
      if (!there.has(name) && !this.#lasting.has(name)) this.#gone.set(name, backend)
    }
  }

  /**
   * To be called before a change of backends; and what it returns when every thread has made the change. Gives back the state of
   * those that had left and have nothing pending: each thread has written its last number there by the time that it has made the
   * change.
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
