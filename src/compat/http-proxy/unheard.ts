import type { Logger } from '../../index.ts'
import { systemClock } from '../../runtime/clock.ts'
import { LineLimit } from '../../runtime/line-limit.ts'

/** Logs failures that no listener and no callback hears of: one line each, up to ten a second with one code. */
export type Unheard = (what: string, error: Error) => void

/** @param logger gets lines over that rate at `debug`. */
export function unheardTo(logger: Logger): Unheard {
  const limit = new LineLimit(systemClock)
  return (what, error) => {
    const { code } = error as NodeJS.ErrnoException
    const skipped = limit.take(String(code))
    const message = `${what}: ${error.message}`
    // The stack of an error of the system says nothing more.
    const fields = code === undefined ? { err: error } : { code }
    if (skipped === null) logger.debug(fields, message)
    else logger.error(skipped > 0 ? { ...fields, skipped } : fields, message)
  }
}
