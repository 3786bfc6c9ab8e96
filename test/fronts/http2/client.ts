import http2, { type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2'
import type { Readable } from 'node:stream'

/** A response, or how its stream ended without a clean end. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly trailers: IncomingHttpHeaders
  /** Interim responses, by status. */
  readonly interim: readonly number[]
  /** Code of the RST_STREAM that came. */
  readonly code: number
}

/** A client that speaks HTTP/2. */
export interface Http2Client extends AsyncDisposable {
  readonly session: ClientHttp2Session
  ask(headers: http2.OutgoingHttpHeaders, body?: string | Buffer | Readable): Promise<Answer>
}

/** Connects to a port of this machine. */
export function http2Client(
  port: number,
  options: http2.SecureClientSessionOptions = {},
  scheme = 'http',
): Http2Client {
  const session = http2.connect(`${scheme}://127.0.0.1:${port}`, options)
  session.on('error', () => {})
  return {
    session,
    ask: (headers, body) =>
      new Promise((resolve) => {
        const stream = session.request(headers, { endStream: body === undefined })
        const answer = { status: 0, headers: {}, body: '', trailers: {}, interim: [] as number[], code: 0 }
        stream
          .on('headers', (interim) => answer.interim.push(Number(interim[':status'])))
          .on('response', (head) => Object.assign(answer, { status: head[':status'], headers: head }))
          .on('trailers', (trailers) => Object.assign(answer, { trailers }))
          .on('data', (chunk) => {
            answer.body += String(chunk)
          })
          .on('error', () => {})
          .on('close', () => resolve({ ...answer, code: stream.rstCode ?? -1 }))
        if (typeof body === 'string' || Buffer.isBuffer(body)) stream.end(body)
        else body?.pipe(stream)
      }),
    async [Symbol.asyncDispose]() {
      session.destroy()
    },
  }
}
