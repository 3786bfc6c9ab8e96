import type { Logger } from '../contracts/logger.ts'
import type { ProxyError } from '../model/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import { LineLimit } from '../runtime/line-limit.ts'

/**
 * Logs failures of requests, one line each: client errors at `info`, the others at `warn`, or at `error` if code of the
 * application threw. Lines over a limited rate are at `debug`, and the next line says how many were `skipped`.
 */
export class FailureLog {
  readonly #logger: Logger
  readonly #ofClients: LineLimit
  /** A kind is a code at a backend, so that an outage of one backend does not hide the faults of another. */
  readonly #others: LineLimit

  constructor(clock: Clock, logger: Logger) {
    this.#logger = logger
    this.#ofClients = new LineLimit(clock)
    this.#others = new LineLimit(clock)
  }

  tell(error: ProxyError, fields: object): void {
    const { code, message, hint, backend } = error
    const level = levelOf(error)
    // A client that goes away is normal.
    if (code === 'ERR_PROXY_CLIENT_GONE') return this.#logger.debug(fields, message)
    const skipped = level === 'info' ? this.#ofClients.take('') : this.#others.take(`${code} ${backend?.id}`)
    if (skipped === null) return this.#logger.debug(fields, message)
    this.#logger[level]({ ...fields, hint, ...(skipped > 0 && { skipped }) }, message)
  }
}

function levelOf({ code, side }: ProxyError): 'info' | 'warn' | 'error' {
  if (side === 'client' || code === 'ERR_PROXY_NO_ROUTE') return 'info'
  return code === 'ERR_PROXY_HOOK' ? 'error' : 'warn'
}
