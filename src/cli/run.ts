import type { Logger, Proxy } from '../index.ts'
import { CommandError } from './command-error.ts'
import type { Address } from './file-options.ts'
import type { Opened } from './open.ts'

/** A proxy to serve, with its hooks. */
export interface Service {
  readonly proxy: Proxy
  readonly logger: Logger
  /** Starts to listen. Rejects if it cannot. */
  open(): Promise<Opened>
  /** Called when the proxy listens. */
  onOpen?(addresses: Opened['addresses']): void
  /** Called at the first signal, before the proxy closes. */
  onSignal?(): void
  /** Called when the proxy has closed, or could not listen. */
  onClose?(): Promise<void>
}

/** Exit codes of a process that a signal ends, by the shell's convention: 128 + the signal's number. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const

/**
 * Serves until a signal. The first signal lets exchanges finish within the proxy's `drainTimeoutMs`, then exits with 0. A
 * second signal exits at once.
 * @throws CommandError if it cannot listen.
 */
export async function serve(service: Service): Promise<void> {
  const { proxy, logger } = service
  // By default SIGHUP would end the process, while its sender expects a reload.
  process.on('SIGHUP', () => void onHangup(service))
  let opened: Opened | null = null
  try {
    opened = await service.open()
    service.onOpen?.(opened.addresses)
  } catch (cause) {
    await close(service, opened)
    throw new CommandError(1, cause instanceof Error ? cause.message : String(cause), { cause })
  }

  let isClosing = false
  const stop = (signal: keyof typeof SIGNALS): void => {
    if (isClosing) process.exit(SIGNALS[signal])
    isClosing = true
    const { active } = proxy.stats()
    logger.info({ signal, active }, `${signal}: shutting down with ${active} in flight; a second signal exits at once`)
    service.onSignal?.()
    close(service, opened).then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error({ err: error }, 'the shutdown failed')
        process.exit(1)
      },
    )
  }
  // Threads keep dying and are not replaced any more: exit, so that a process manager can restart the command.
  proxy.on('error', (error) => {
    if (error.code !== 'ERR_PROXY_THREADS' || isClosing) return
    isClosing = true
    logger.error({ code: error.code }, error.message)
    close(service, opened).finally(() => process.exit(1))
  })
  process.on('SIGINT', stop).on('SIGTERM', stop)
}

/** Reads the files of certificates again. They are all that is read later than at the start. */
async function onHangup({ proxy, logger }: Service): Promise<void> {
  const rest = 'the configuration is read only at the start; restart to change it'
  if (proxy.stats().tls.length === 0) {
    logger.warn({ signal: 'SIGHUP' }, `SIGHUP is ignored: ${rest}`)
    return
  }
  try {
    await proxy.reloadCertificates()
    logger.info({ signal: 'SIGHUP' }, `SIGHUP: changed files of certificates were read again; the rest of ${rest}`)
  } catch (error) {
    logger.error({ signal: 'SIGHUP', err: error }, 'SIGHUP: the certificates were not changed in every thread')
  }
}

async function close({ proxy, onClose }: Service, opened: Opened | null): Promise<void> {
  await Promise.all([proxy.close(), opened?.close()])
  await onClose?.()
}

/** Where to listen, for messages. */
export function describeListen({ host, port }: Address): string {
  return `${host === undefined ? '*' : host.includes(':') ? `[${host}]` : host}:${port}`
}
