import { hookError, ProxyError } from '../model/errors.ts'
import type { Exchange } from './exchange.ts'
import type { TunnelEvents, Tunnelled } from './front.ts'

/** How long a half-closed WebSocket with nothing left to write may wait for its other side to end, ms. */
const LINGER_MS = 2_000

/** An upgraded exchange: its byte counts and its time limits after its two connections were joined. */
export class UpgradedConnection implements TunnelEvents {
  readonly #exchange: Exchange
  #tunnel: Tunnelled | null = null
  /** Bytes that the ending side still had to take when it last took some; -1: it has taken all. */
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
    // If one side has ended, the other may finish, but not stay open without a limit.
    const bytes = tunnel.bytesToEndingClient + tunnel.bytesToEndingBackend
    if (bytes === 0) {
      this.#bytesToEnding = -1
      return this.#extend(tunnel.isWebSocket ? LINGER_MS : upgradeIdle || idle)
    }
    // A side that still has to take its last bytes must take some. Bytes that it sends meanwhile do not count.
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
