import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerResponse } from 'node:http2'
import type { Readable } from 'node:stream'
import type { BodySource, ProxyError, ResponseSink, WebOverrides } from '../../index.ts'
import { Call } from './call.ts'
import { CopiedRequest } from './copied-request.ts'
import { isTheirs } from './delegate.ts'
import { ForwardedCopy } from './forward.ts'
import { rewritesResponses } from './hooks.ts'
import { Http2Response } from './http2-response.ts'
import { hangUp, nodeError } from './node-errors.ts'
import type { ProxyResponse } from './proxy-response.ts'
import { respondWith } from './respond.ts'
import { type Audience, ShownResponse } from './shown-response.ts'
import type { ProxyTargetUrl } from './types.ts'

/** A call of `web()`. */
export class WebCall extends Call<ServerResponse<IncomingMessage>> implements Audience {
  #shown: ShownResponse | null = null
  #copy: ForwardedCopy | null = null
  #isTaken = false

  /** Sends the request to the target, and a copy to `forward`. */
  carry(): void {
    const { req, res, options, owner } = this
    owner.emit('start', req, res, this.target)
    if (isTheirs(options)) return owner.delegate.web(req, res, options, (error) => this.fail(error))
    if (options.forward !== undefined) {
      const { forward } = options
      this.#copy = new ForwardedCopy(owner, req, options, (error) => this.#onForwardFailed(error, forward))
    }
    if (options.target !== undefined) return this.#send()
    this.#copy?.sendAll((options.buffer as Readable | undefined) ?? req)
    res.end()
  }

  #send(): void {
    const { req, res, options, owner } = this
    const copy = req.httpVersionMajor > 1 ? new CopiedRequest(req, '') : null
    const carried = copy?.asRequest ?? req
    const outgoing = this.prepare('proxyReq', [undefined], carried)
    if (outgoing === null) return
    const { backend, path, method, hostHeader } = outgoing
    const overrides: WebOverrides = { target: backend, hostHeader, context: this, onError: this.onError }
    if (path !== undefined) overrides.path = path
    if (method !== undefined) overrides.method = method
    const body = this.proxyReq?.body ?? options.buffer
    if (body !== undefined) overrides.body = body as Buffer | Readable
    const isHooked =
      this.edits !== null ||
      this.proxyReq !== null ||
      this.#copy !== null ||
      rewritesResponses(options) ||
      this.#showsResponses()
    const engine = owner.engines.get(isHooked, options, overrides)
    if (copy === null) return engine.web(req, res, overrides)
    if (body === undefined) req.pipe(copy)
    engine.web(carried, new Http2Response(res as unknown as Http2ServerResponse).asResponse, overrides)
  }

  /** The client's own response does not depend on the copy. */
  #onForwardFailed(error: Error, forward: ProxyTargetUrl): void {
    if (!this.tell(error, forward)) {
      this.owner.logger.error({ err: error }, `a copy could not be sent to 'forward': ${error.message}`)
    }
  }

  override tapBody(body: BodySource | null): BodySource | null {
    return this.#copy === null ? body : this.#copy.sendWith(body)
  }

  #showsResponses(): boolean {
    const { options, owner } = this
    return options.selfHandleResponse === true || owner.listenerCount('proxyRes') > 0 || owner.listenerCount('end') > 0
  }

  protected override wrap(sink: ResponseSink): ResponseSink {
    const isAwaited = this.proxyReq !== null && this.proxyReq.listenerCount('response') > 0
    if (!isAwaited && !this.#showsResponses()) return sink
    this.#shown = new ShownResponse(sink, this)
    return this.#shown
  }

  onResponse(response: ProxyResponse): boolean {
    const { req, res, options, owner } = this
    const isOurs = options.selfHandleResponse !== true
    this.proxyReq?.emit('response', response)
    owner.emit('proxyRes', response, req, res)
    if (isOurs && !res.headersSent) return false
    this.#isTaken = true
    response.once('end', () => this.#tellEnd(response))
    // A listener that has sent a head of its own gets the body behind it.
    if (isOurs && res.writableEnded) response.resume()
    else if (isOurs) response.pipe(res)
    return true
  }

  onResponseEnd(response: ProxyResponse): void {
    if (!this.#isTaken) this.#tellEnd(response)
  }

  #tellEnd(response: ProxyResponse): void {
    this.owner.emit('end', this.req, this.res, response)
  }

  protected override onClosed(): void {
    super.onClosed()
    this.#shown?.abandon(hangUp())
    if (this.options.target !== undefined) this.#copy?.onClientOver()
  }

  onEngineError(error: ProxyError): void {
    const { req, res, owner } = this
    if (error.code === 'ERR_PROXY_CLIENT_GONE') {
      if (!res.headersSent || !req.complete) owner.emit('econnreset', nodeError(error), req, res, this.target)
    } else if (res.headersSent && !this.#isTaken && owner.listenerCount('error') > 0) {
      // The client sees that its response is truncated. Callbacks hear of failures before a response only.
      this.hasFailed = true
      owner.emit('error', nodeError(error), req, res, this.target)
    }
  }

  protected override respond(error: Error, status: number): void {
    respondWith(this.res, error, status)
  }
}
