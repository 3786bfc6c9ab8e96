import { hookError, ProxyError } from '../model/errors.ts'
import type { Exchange } from './exchange.ts'
import type { TunnelEvents, Tunnelled } from './front.ts'

/** How long a WebSocket of which one side has ended, and has all that was meant for it, may wait for the other to end, ms. */
const LINGER_MS = 2_000

/** An exchange whose connections have been joined: its accounts and its limits of time from then on. */
export class UpgradedConnection implements TunnelEvents {
  readonly #exchange: Exchange
  #tunnel: Tunnelled | null = null
  /** Bytes that an ending side had yet to take when it last took some; -1: it has all. */
  #bytesToEnding = -1

  constructor(exchange: Exchange) {
    this.#exchange = exchange
  }

  begin(tunnel: Tunnelled): void {
    this.#tunnel = tunnel
    this.onProgress()
  }

  onClientBytes(bytes: number): void {
    this.#exchange.requestBytes += bytes
    this.onProgress()
  }

  onBackendBytes(bytes: number): void {
    this.#exchange.responseBytes += bytes
    this.onProgress()
  }

  onProgress(): void {
    const { upgradeIdle, idle } = this.#exchange.timeouts
    const tunnel = this.#tunnel
    if (tunnel?.isHalfClosed !== true) return this.#extend(upgradeIdle)
    // If one side has ended the other may finish, but not be forgotten.
    const bytes = tunnel.bytesToEndingClient + tunnel.bytesToEndingBackend
    if (bytes === 0) {
      this.#bytesToEnding = -1
      return this.#extend(tunnel.isWebSocket ? LINGER_MS : upgradeIdle || idle)
    }
    // The side that has yet to take its last bytes must take some; what it sends meanwhile does not count.
    if (bytes === this.#bytesToEnding) return
    this.#bytesToEnding = bytes
    this.#extend(upgradeIdle || idle)
  }

  #extend(ms: number): void {
    const { client, services } = this.#exchange
    client.awaitUntil(ms > 0 ? services.clock.now() + ms : Number.POSITIVE_INFINITY)
  }

  onTunnelClosed(): void {
    this.#exchange.enter(this.#end, this)
  }

  #end(): void {
    this.#exchange.end('upgraded', null)
  }

  onThrown(thrown: unknown): void {
    const { backend, id, isEnded, services } = this.#exchange
    const error = hookError('the upgrade', thrown, backend)
    if (isEnded) services.logger.error({ exchange: id, err: thrown }, error.message)
    this.#exchange.enter(this.#truncate, this, error)
  }

  #truncate(error: ProxyError): void {
    this.#exchange.truncate(error)
    this.#exchange.front.abort()
  }

  onLate(): void {
    const { backend, timeouts } = this.#exchange
    const tunnel = this.#tunnel
    const ms = timeouts.upgradeIdle || timeouts.idle
    if (tunnel?.isHalfClosed === true) {
      const bytes = tunnel.bytesToEndingClient + tunnel.bytesToEndingBackend
      if (bytes !== 0 && bytes !== this.#bytesToEnding) return this.onProgress()
      if (bytes === 0 && tunnel.isWebSocket) {
        this.#end()
        return this.#exchange.front.abort()
      }
      if (tunnel.bytesToEndingClient > 0) {
        return this.#truncate(new ProxyError('ERR_PROXY_CLIENT_TIMEOUT', `the client took no byte for ${ms} ms`))
      }
    }
    const message = `backend ${backend?.id} and the client moved no byte for ${ms} ms`
    const details = { backend, attempt: this.#exchange.attempts }
    this.#truncate(new ProxyError('ERR_PROXY_UPGRADE_IDLE_TIMEOUT', message, details))
  }
}
