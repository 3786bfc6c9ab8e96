import { workerData } from 'node:worker_threads'
import { PrivateStateMemory, SharedStateMemory, type StateMemory } from '../runtime/state-memory.ts'
import { parentChannel } from './local-proxies.ts'
import { countersName, namespaceOf, type ThreadStart } from './protocol.ts'

/** What a proxy needs of the thread that it is made in. */
export interface ThreadContext {
  /** Distinguishes the proxies of a thread in what is shared: the same for the same proxy of each thread. */
  readonly namespace: string
  readonly memory: StateMemory
  readonly counters: Float64Array
  /** The thread's number; 0: none of an executor's. */
  readonly thread: number
  /** Clears what the numbers of backends that come say of earlier ones; where threads share them, one does it for all. */
  readonly clearsState: boolean
  /** Takes lines of an access log that are for standard output; `null`: they are written here. */
  readonly writeLine: ((line: string) => void) | null
}

/** How this thread was started; `undefined` unless by an executor of ours. */
export const threadStart = (workerData as { heddle?: ThreadStart } | null)?.heddle
const memory = threadStart === undefined ? null : new SharedStateMemory(threadStart.memory, threadStart.slot)
let unnamed = 0

/**
 * For the next proxy. In a thread of ours its numbers are those of its siblings in other threads: of the same name, or if it has
 * none, made in the same place among those without one.
 */
export function nextContext(name = ''): ThreadContext {
  if (threadStart === undefined || memory === null) {
    const memory = new PrivateStateMemory()
    const counters = memory.counters()
    return { namespace: '', memory, counters, thread: 0, clearsState: true, writeLine: null }
  }
  const namespace = name === '' ? namespaceOf(unnamed++) : name
  const counters = memory.counters(countersName(threadStart.slot, namespace))
  counters.fill(0)
  const writeLine = (line: string): void => parentChannel.writeLine(line)
  // The thread that started us does not know of the proxies of a module.
  const clearsState = 'entry' in threadStart.job
  return { namespace, memory, counters, thread: threadStart.thread, clearsState, writeLine }
}
