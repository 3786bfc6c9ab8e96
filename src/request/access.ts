import { describeError } from '../model/errors.ts'
import type { ExchangeRecord } from '../model/record.ts'
import { heed } from './heed.ts'
import type { Parts } from './parts.ts'

/** Gives a record to the access log, guarded: what it throws is logged. */
export function logRecord(parts: Parts, record: ExchangeRecord): void {
  try {
    const returned: unknown = parts.accessLog?.(record)
    if (returned instanceof Promise) heed(returned, (thrown) => tellAccessLog(parts, thrown))
  } catch (thrown) {
    tellAccessLog(parts, thrown)
  }
}

function tellAccessLog({ logger }: Parts, thrown: unknown): void {
  logger.error({ err: thrown }, `the access log threw: ${describeError(thrown)}`)
}
