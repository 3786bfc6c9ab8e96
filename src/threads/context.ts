import { workerData } from 'node:worker_threads'
import { PrivateStateMemory, SharedStateMemory, type StateMemory } from '../runtime/state-memory.ts'
import { parentChannel, threadProxies } from './local-proxies.ts'
import { countersName, namespaceOf, type ThreadStart } from './protocol.ts'

/** The thread that a proxy is created in. */
export interface ThreadContext {
  /** Identifies the proxy in shared memory: the same proxy has the same namespace in each thread. */
  readonly namespace: string
  readonly memory: StateMemory
  readonly counters: Float64Array
  /** The thread's number; 0: not a thread of an executor. */
  readonly thread: number
  /** Whether this thread clears old state when a backend is added. If threads share the state, only one of them does. */
  readonly clearsState: boolean
  /** Writes access log lines to standard output through the main thread; `null`: this thread writes them. */
  readonly writeLine: ((line: string) => void) | null
}

/** How this thread was started; `undefined` if not by an executor. */
export const threadStart = (workerData as { heddle?: ThreadStart } | null)?.heddle
const memory = threadStart === undefined ? null : new SharedStateMemory(threadStart.memory, threadStart.slot)

/**
 * The context of the next proxy. In a thread of an executor it shares its state with its siblings in other threads: the
 * proxies of the same name, or, without a name, the proxies created in the same order.
 */
export function nextContext(name = ''): ThreadContext {
  if (threadStart === undefined || memory === null) {
    const memory = new PrivateStateMemory()
    const counters = memory.counters()
    return { namespace: '', memory, counters, thread: 0, clearsState: true, writeLine: null }
  }
  const namespace = name === '' ? namespaceOf(threadProxies.unnamed++) : name
  const counters = memory.counters(countersName(threadStart.slot, namespace))
  counters.fill(0)
  const writeLine = (line: string): void => parentChannel.writeLine(line)
  // The main thread does not know the proxies of a module.
  const clearsState = 'entry' in threadStart.job
  return { namespace, memory, counters, thread: threadStart.thread, clearsState, writeLine }
}
