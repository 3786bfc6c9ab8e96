import type { ResponseHead } from '../../contracts/pool.ts'
import { Exchange } from '../../exchange/exchange.ts'
import type { ProxyError } from '../../model/errors.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { NodeFront } from './front.ts'

/**
 * An exchange of an application's server. What calls it (the backend's connection, timers, other clients) has an async context
 * of its own; what it calls (hooks, listeners, what the application has hung on its response) runs in that of its request. Costs
 * some 40 ns a call.
 */
export class ScopedExchange extends Exchange {
  declare readonly front: NodeFront

  override onInformational(head: ResponseHead): void {
    this.front.scope.runInAsyncScope(super.onInformational, this, head)
  }

  override onHead(head: ResponseHead): void {
    this.front.scope.runInAsyncScope(super.onHead, this, head)
  }

  override onData(chunk: Buffer): boolean {
    return this.front.scope.runInAsyncScope(super.onData, this, chunk)
  }

  override onFlush(): void {
    this.front.scope.runInAsyncScope(super.onFlush, this)
  }

  override onEnd(trailers: HeaderList | null): void {
    this.front.scope.runInAsyncScope(super.onEnd, this, trailers)
  }

  override onError(error: ProxyError): void {
    this.front.scope.runInAsyncScope(super.onError, this, error)
  }

  override onClientDrain(): void {
    this.front.scope.runInAsyncScope(super.onClientDrain, this)
  }

  override onClientDone(): void {
    this.front.scope.runInAsyncScope(super.onClientDone, this)
  }

  override onClientGone(): void {
    this.front.scope.runInAsyncScope(super.onClientGone, this)
  }

  override onBodyProgress(bytes: number): void {
    this.front.scope.runInAsyncScope(super.onBodyProgress, this, bytes)
  }

  override onDeadline(): void {
    this.front.scope.runInAsyncScope(super.onDeadline, this)
  }

  /** Called by a timer where it is not the first. */
  protected override attempt(): void {
    if (this.attempts === 0) super.attempt()
    else this.front.scope.runInAsyncScope(super.attempt, this)
  }
}
