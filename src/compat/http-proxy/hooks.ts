import type { Duplex } from 'node:stream'
import type {
  BodySource,
  ExchangeView,
  Flow,
  HeaderList,
  Interceptor,
  ResponseHead,
  ResponseSink,
  Transform,
} from '../../index.ts'
import { rewriteCookie } from './cookies.ts'
import { rewriteLocation, rewritesLocation } from './location.ts'
import type { HeaderEdits } from './outgoing-request.ts'
import { editHeader } from './request-headers.ts'
import type { NormalizedServerOptions } from './types.ts'

/** A call as the hooks of the engine see it: the `context` of its exchange. */
export interface HookedCall {
  readonly options: NormalizedServerOptions
  readonly edits: HeaderEdits | null
  /** Host and port of the target. */
  readonly targetHost: string
  /** The host that the client has asked for; empty if unknown. */
  readonly clientHost: string
  /** Wraps the way of the body; `body` itself if nobody is interested. */
  tapBody(body: BodySource | null): BodySource | null
  /** Wraps the way of the response; `sink` itself if nobody is interested. */
  tap(sink: ResponseSink): ResponseSink
}

/** Changes heads by the options and listeners of a call. */
export const heads: Transform = {
  name: 'http-proxy',
  request({ headers }, exchange) {
    const { edits } = callOf(exchange)
    if (edits === null) return
    for (const { name, value } of edits.values()) editHeader(headers, name, value)
  },
  response(response, exchange) {
    // Of the response to an upgrade nothing is rewritten.
    if (response.status === 101) return
    const { options, targetHost, clientHost } = callOf(exchange)
    const { headers, status } = response
    const location = rewritesLocation(options) ? headers.get('location') : undefined
    if (location !== undefined) {
      headers.set('location', rewriteLocation(location, status, targetHost, clientHost, options))
    }
    const { cookieDomainRewrite: domain, cookiePathRewrite: path } = options
    if (!isRewrite(domain) && !isRewrite(path)) return
    const cookies = headers.getAll('set-cookie')
    headers.delete('set-cookie')
    for (let cookie of cookies) {
      if (isRewrite(domain)) cookie = rewriteCookie(cookie, 'domain', domain)
      if (isRewrite(path)) cookie = rewriteCookie(cookie, 'path', path)
      headers.append('Set-Cookie', cookie)
    }
  },
}

/** Whether {@link heads} has something to do in responses. */
export function rewritesResponses(options: NormalizedServerOptions): boolean {
  return rewritesLocation(options) || isRewrite(options.cookieDomainRewrite) || isRewrite(options.cookiePathRewrite)
}

function isRewrite(option: NormalizedServerOptions['cookiePathRewrite']): option is string | Record<string, string> {
  return typeof option === 'string' || (typeof option === 'object' && option !== null)
}

/** Shows bodies and responses to a call. */
export const responses: Interceptor = {
  name: 'http-proxy',
  wrap: (next) => (exchange, request, body, sink) => {
    const call = callOf(exchange)
    next(exchange, request, call.tapBody(body), call.tap(sink))
  },
}

/** Only calls of this folder pass by these hooks, each with itself as context. */
function callOf(exchange: ExchangeView): HookedCall {
  return exchange.context as HookedCall
}

/** Passes everything on; its subclasses look at some of it. */
export class Tap implements ResponseSink {
  protected readonly sink: ResponseSink

  constructor(sink: ResponseSink) {
    this.sink = sink
  }

  onInformational(head: ResponseHead): void {
    this.sink.onInformational(head)
  }

  onHead(head: ResponseHead, flow: Flow): void {
    this.sink.onHead(head, flow)
  }

  onData(chunk: Buffer): boolean {
    return this.sink.onData(chunk)
  }

  onFlush(): void {
    this.sink.onFlush()
  }

  onEnd(trailers: HeaderList | null): void {
    this.sink.onEnd(trailers)
  }

  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    this.sink.onUpgrade(head, stream, rest)
  }

  onError(error: Parameters<ResponseSink['onError']>[0]): void {
    this.sink.onError(error)
  }
}
