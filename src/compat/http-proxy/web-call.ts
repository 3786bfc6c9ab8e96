import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Http2ServerResponse } from 'node:http2'
import type { Readable } from 'node:stream'
import {
  type BodySource,
  followRedirects,
  type HeaderList,
  type OutgoingResponse,
  type ProxyError,
  type ResponseSink,
  type WebOverrides,
} from '../../index.ts'
import { Call, type Given, type Owner } from './call.ts'
import { CopiedRequest } from './copied-request.ts'
import { isTheirs } from './delegate.ts'
import type { Looks } from './engines.ts'
import { ForwardedCopy } from './forward.ts'
import type { HookedCall } from './hooks.ts'
import { Http2Response } from './http2-response.ts'
import { hangUp, nodeError } from './node-errors.ts'
import { changeHead, keepHead } from './own-head.ts'
import { ProxyResponse, type Source } from './proxy-response.ts'
import { editHeader, headerText } from './request-headers.ts'
import { respondWith } from './respond.ts'
import { rewriteResponse, rewritesResponses } from './rewrite-response.ts'
import { showBody } from './shown-body.ts'
import { TakenResponse } from './taken-response.ts'
import type { ProxyTargetUrl } from './types.ts'

/** What http-proxy follows at most if it is given no number. */
const MAX_REDIRECTS = 21

/** A call of `web()`. */
export class WebCall extends Call<ServerResponse<IncomingMessage>> implements HookedCall, Source {
  readonly isTaken = false
  /** What the engine writes to: the client's response, or what stands for it. */
  #front: ServerResponse
  #copy: ForwardedCopy | null = null
  #response: ProxyResponse | null = null
  #taken: TakenResponse | null = null
  #areListenersRunning = false
  #isObserved = false
  #onReady: (() => void) | null = null

  constructor(owner: Owner, given: Given<ServerResponse>) {
    super(owner, given)
    this.#front = given.res
  }

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
    this.#copy?.sendAll(req, (options.buffer as Readable | undefined) ?? req)
    res.end()
  }

  #send(): void {
    const { req, res, options, owner } = this
    const copy = 'stream' in req ? new CopiedRequest(req, '') : null
    const carried = copy?.asRequest ?? req
    const outgoing = this.prepare('proxyReq', [undefined], carried)
    if (outgoing === null) return
    const { backend, path, method, hostHeader } = outgoing
    const overrides: WebOverrides = { target: backend, hostHeader, context: this, onError: this.onError }
    if (path !== undefined) overrides.path = path
    if (method !== undefined) overrides.method = method
    const body = this.proxyReq?.body ?? options.buffer
    if (body !== undefined) overrides.body = body as Buffer | Readable
    const { followRedirects: max } = options
    if (max) overrides.interceptors = [followRedirects({ max: max === true ? MAX_REDIRECTS : max })]
    const engine = owner.engines.get(this.#looks(), options, overrides)
    if (copy !== null) {
      this.#front = new Http2Response(res as unknown as Http2ServerResponse).asResponse
      if (body === undefined) req.pipe(copy)
    }
    engine.web(carried, this.#front, overrides)
  }

  #looks(): Looks {
    const { options } = this
    if (this.#copy !== null || options.selfHandleResponse === true) return 'bodies'
    return this.edits !== null || this.proxyReq !== null || this.#isShown || rewritesResponses(options)
      ? 'heads'
      : 'plain'
  }

  /** Somebody wants to see the response. */
  get #isShown(): boolean {
    const { owner, proxyReq } = this
    return (
      owner.listenerCount('proxyRes') > 0 ||
      owner.listenerCount('end') > 0 ||
      (proxyReq !== null && proxyReq.listenerCount('response') > 0)
    )
  }

  /** The client's own response does not depend on the copy. */
  #onForwardFailed(error: Error, forward: ProxyTargetUrl): void {
    if (!this.tell(error, forward)) this.owner.unheard("a copy could not be sent to 'forward'", error)
  }

  tapBody(body: BodySource | null): BodySource | null {
    return this.#copy === null ? body : this.#copy.sendWith(body)
  }

  tap(sink: ResponseSink): ResponseSink {
    if (this.options.selfHandleResponse !== true) return sink
    this.#taken = new TakenResponse(sink, this.proxyReq, (response) => this.#giveAway(response))
    return this.#taken
  }

  /** The listeners respond. */
  #giveAway(response: ProxyResponse): void {
    this.#tellListeners(response)
    if (this.res.writableEnded) this.#tellEnd(response)
    else response.once('end', () => this.#tellEnd(response))
  }

  onHead(head: OutgoingResponse): void {
    if (this.proxyReq?.destroyed === true) throw new Error('the application has destroyed the request')
    if (this.#isShown) this.#show(head)
    rewriteResponse(head, this.options, { target: this.targetHost, client: this.clientHost })
  }

  #show(head: OutgoingResponse): void {
    const list: HeaderList = []
    for (const pair of head.headers.entries()) list.push(pair[0], pair[1])
    const response = new ProxyResponse(head.status, '', list, this, this.proxyReq)
    this.#response = response
    this.#tellListeners(response)
    this.#change(head, response)
    // Only now: listeners may have wrapped the client's response, and are to see what the target has sent.
    if (this.#isObserved) this.onObserved()
  }

  #tellListeners(response: ProxyResponse): void {
    const { req, res, owner, proxyReq } = this
    this.#areListenersRunning = true
    proxyReq?.emit('response', response)
    owner.emit('proxyRes', response, req, res)
    this.#areListenersRunning = false
  }

  /** Applies what listeners have changed. */
  #change(head: OutgoingResponse, { statusCode, statusMessage, changedHeaders }: ProxyResponse): void {
    if (this.res.headersSent) return this.res.writableEnded ? undefined : keepHead(this.#front)
    let hasOtherLength = false
    for (const [name, value] of changedHeaders) {
      // They will change the length in a way of their own, such as a `res.write` that they have replaced.
      if (name.toLowerCase() === 'content-length') hasOtherLength = true
      else editHeader(head.headers, name, headerText(value))
    }
    const reason = statusMessage === (STATUS_CODES[head.status] ?? '') ? null : statusMessage
    head.status = Number(statusCode)
    if (reason !== null || hasOtherLength) changeHead(this.#front, reason, hasOtherLength)
  }

  onObserved(): void {
    const response = this.#response
    if (this.#areListenersRunning || response === null) this.#isObserved = true
    else if (this.#onReady === null && !this.#front.writableEnded) this.#onReady = showBody(this.#front, response)
  }

  onReady(): void {
    this.#onReady?.()
  }

  #tellEnd(response: ProxyResponse): void {
    this.owner.notify('end', this.req, this.res, response)
  }

  protected override onClosed(): void {
    super.onClosed()
    const response = this.#response
    this.#taken?.abandon()
    if (this.options.target !== undefined) this.#copy?.onClientOver()
    if (response === null) return
    if (this.#front.writableEnded) this.#tellEnd(response)
    else if (!response.complete) response.fail(hangUp())
  }

  protected override onDestroyed(error: Error): void {
    const hasBegun = this.res.headersSent
    super.onDestroyed(error)
    // As if the target had ended it.
    if (hasBegun) this.res.destroy()
  }

  onEngineError(error: ProxyError): void {
    const { req, res, owner } = this
    if (error.code === 'ERR_PROXY_CLIENT_GONE') {
      if (!res.headersSent || !req.complete) owner.notify('econnreset', nodeError(error), req, res, this.target)
    } else if (res.headersSent && this.#taken === null && owner.listenerCount('error') > 0) {
      // The client sees that its response is truncated. Callbacks hear of failures before a response only.
      this.hasFailed = true
      owner.notify('error', nodeError(error), req, res, this.target)
    }
  }

  protected override respond(error: Error, status: number): void {
    respondWith(this.res, error, status)
  }
}
