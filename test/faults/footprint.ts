import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'

/** What a process holds on to that garbage collection does not give back. */
export interface Footprint {
  /** Open file descriptors; -1 where the system does not tell. */
  readonly files: number
  /** What keeps the event loop alive, by kind. */
  readonly resources: Readonly<Record<string, number>>
  /** Listeners on `process`, by event. */
  readonly listeners: Readonly<Record<string, number>>
}

/** Kinds that a measurement itself may leave behind for a moment, or the test runner uses. */
const OURS = new Set(['FSReqPromise', 'Immediate', 'Timeout', 'CloseReq'])

async function footprint(): Promise<Footprint> {
  const files = await readdir('/proc/self/fd').then(
    (names) => names.length,
    () => -1,
  )
  const resources: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) {
    if (!OURS.has(kind)) resources[kind] = (resources[kind] ?? 0) + 1
  }
  const listeners: Record<string, number> = {}
  for (const event of process.eventNames()) listeners[String(event)] = process.listenerCount(event)
  return { files, resources, listeners }
}

/** Once all connections are gone, and all but so many servers. */
export async function idleFootprint(servers = 0): Promise<Footprint> {
  await untilTrue(() => process.getActiveResourcesInfo().filter((kind) => kind.startsWith('TCP')).length === servers)
  return footprint()
}

/** Gives what has been let go some rounds of I/O to be gone. */
export async function assertBack(start: Footprint): Promise<void> {
  for (let round = 0; round < 1000 && !isDeepStrictEqual(await footprint(), start); round++) await setImmediate()
  assert.deepEqual(await footprint(), start)
}

/** Lets I/O pass until `check` holds; a test that waits in vain runs into its time limit. */
export async function untilTrue(check: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await check())) await setImmediate()
}
