import type { ListenAddress, Logger, Proxy } from '../index.ts'
import { CommandError } from './command-error.ts'
import type { Listen } from './file-options.ts'

/** What to serve, and what belongs to it. */
export interface Service {
  readonly proxy: Proxy
  readonly logger: Logger
  /** Listens. Rejects where it cannot. */
  open(): Promise<ListenAddress>
  /** When it listens. */
  onOpen?(address: ListenAddress): void
  /** At the first signal, before the proxy closes. */
  onSignal?(): void
  /** When the proxy has closed, or could not listen. */
  onClose?(): Promise<void>
}

/** Exit codes of a process that a signal ends, by the shell's convention: 128 and the signal's number. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const

/**
 * Serves until a signal. The first lets exchanges finish (the proxy's `drainTimeoutMs` bounds that) and ends the
 * process with 0; a second one ends it at once.
 * @throws CommandError where it cannot listen.
 */
export async function serve(service: Service): Promise<void> {
  const { proxy, logger } = service
  // Its default would end the process, and whoever sends it wants the configuration read again.
  process.on('SIGHUP', () => {
    logger.warn(
      { signal: 'SIGHUP' },
      'SIGHUP is ignored: the configuration is read at the start only; restart to change it',
    )
  })
  try {
    const address = await service.open()
    service.onOpen?.(address)
  } catch (cause) {
    await close(service)
    throw new CommandError(1, cause instanceof Error ? cause.message : String(cause), { cause })
  }

  let isClosing = false
  const stop = (signal: keyof typeof SIGNALS): void => {
    if (isClosing) process.exit(SIGNALS[signal])
    isClosing = true
    const { active } = proxy.stats()
    logger.info({ signal, active }, `${signal}: closing, with ${active} under way; a second signal ends at once`)
    service.onSignal?.()
    close(service).then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error({ err: error }, 'closing failed')
        process.exit(1)
      },
    )
  }
  // Threads that die as soon as they begin are no service.
  proxy.on('error', (error) => {
    if (error.code !== 'ERR_PROXY_THREADS' || isClosing) return
    isClosing = true
    logger.error({ code: error.code }, error.message)
    close(service).finally(() => process.exit(1))
  })
  process.on('SIGINT', stop).on('SIGTERM', stop)
}

async function close({ proxy, onClose }: Service): Promise<void> {
  await proxy.close()
  await onClose?.()
}

/** Where to listen, for people. */
export function describeListen({ host, port }: Listen): string {
  return `${host === undefined ? '*' : host.includes(':') ? `[${host}]` : host}:${port}`
}
