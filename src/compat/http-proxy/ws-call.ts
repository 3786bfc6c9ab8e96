import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  type BodySource,
  type CallOverrides,
  type OutgoingResponse,
  type ProxyError,
  type ResponseHead,
  type ResponseSink,
  wrapSink,
} from '../../index.ts'
import { Call, type Given, type Owner } from './call.ts'
import { isTheirs } from './delegate.ts'
import type { HookedCall } from './hooks.ts'
import { nodeError } from './node-errors.ts'
import { countOpen } from './open-sockets.ts'
import { ProxyResponse, type Source } from './proxy-response.ts'
import { endSoon, refuseUpgrade } from './respond.ts'
import { rewriteResponse } from './rewrite-response.ts'

/** A call of `ws()`. */
export class WsCall extends Call<Duplex> implements HookedCall {
  readonly #head: Buffer
  #isOpen = false

  constructor(owner: Owner, given: Given<Duplex>, head: Buffer) {
    super(owner, given)
    this.#head = head
    const { req, res: socket } = this
    countOpen(socket)
    socket.on('error', (error) => {
      if (owner.listenerCount('error') > 0) owner.notify('error', error, req, socket)
    })
  }

  /** Asks the target for the upgrade. */
  carry(): void {
    const { req, res: socket, owner, options } = this
    if (isTheirs(options)) {
      // They would take the body for the first bytes of the new protocol.
      if (hasBody(req)) return this.respond(new Error('an upgrade with a body'), 400)
      return owner.delegate.ws(req, socket, this.#head, options, (error) => this.fail(error))
    }
    const outgoing = this.prepare('proxyReqWs', [this.#head])
    if (outgoing === null) return
    const { backend, path, hostHeader } = outgoing
    const overrides: CallOverrides = { target: backend, hostHeader, context: this, onError: this.onError }
    if (path !== undefined) overrides.path = path
    owner.engines.get('bodies', options, overrides).ws(req, socket, this.#head, overrides)
  }

  onHead(head: OutgoingResponse): void {
    // A refusal. Of the response to an upgrade nothing is rewritten.
    if (head.status !== 101) rewriteResponse(head, this.options, { target: this.targetHost, client: this.clientHost })
  }

  tapBody(body: BodySource | null): BodySource | null {
    return body
  }

  tap(sink: ResponseSink): ResponseSink {
    return wrapSink(sink, {
      onUpgrade: (head, stream, rest) => {
        sink.onUpgrade(head, stream, rest)
        if (!stream.destroyed) this.#onOpen(head, stream, rest)
      },
    })
  }

  #onOpen(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    const { owner } = this
    this.#isOpen = true
    countOpen(stream)
    const response = new ProxyResponse(head.status, head.reason, head.headers, NO_BODY, this.proxyReq)
    let isOver = false
    const tellClose = (): void => {
      if (isOver) return
      isOver = true
      owner.notify('close', response, stream, rest)
    }
    stream.once('end', tellClose).once('close', tellClose)
    owner.notify('open', stream)
    owner.notify('proxySocket', stream)
  }

  onEngineError(error: ProxyError): void {
    const { req, res: socket, owner } = this
    if (!this.#isOpen || error.side === 'client' || owner.listenerCount('error') === 0) return
    owner.notify('error', nodeError(error), req, socket)
  }

  protected override tell(...args: Parameters<Call<Duplex>['tell']>): boolean {
    const isTold = super.tell(...args)
    // http-proxy ends the connection itself.
    if (isTold) endSoon(this.res)
    return isTold
  }

  protected override respond(error: Error, status: number): void {
    refuseUpgrade(this.res, error, status)
  }
}

const NO_BODY: Source = { isTaken: false, onObserved() {}, onReady() {} }

function hasBody({ rawHeaders }: IncomingMessage): boolean {
  const announces = /^(?:content-length|transfer-encoding)$/i
  return rawHeaders.some((name, i) => i % 2 === 0 && announces.test(name) && rawHeaders[i + 1] !== '0')
}
