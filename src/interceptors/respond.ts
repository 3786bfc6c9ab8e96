import type { Flow, ResponseSink } from '../contracts/pool.ts'
import type { HeaderList } from '../model/exchange-view.ts'

/** A response whose body is in memory. */
export interface WholeResponse {
  readonly status: number
  readonly headers?: HeaderList | undefined
  /** Text is sent as UTF-8. Default: empty. */
  readonly body?: string | Buffer | undefined
}

/** The response is sent as a whole: there is nothing to resume. */
const WHOLE: Flow = { resume() {}, retain() {} }

/** Responds in an interceptor, without a backend. Sets the length of the body. */
export function respond(sink: ResponseSink, { status, headers = [], body = '' }: WholeResponse): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  sink.onHead({ status, reason: '', headers, bodyBytes: bytes.length }, WHOLE)
  if (bytes.length > 0) sink.onData(bytes)
  sink.onEnd(null)
}

/** Refuses a request with 403. */
export function forbid(sink: ResponseSink): void {
  const headers = ['Content-Type', 'text/plain; charset=utf-8', 'Cache-Control', 'no-store']
  respond(sink, { status: 403, headers, body: '403 Forbidden\n' })
}
