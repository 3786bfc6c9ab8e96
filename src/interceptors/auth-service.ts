import http from 'node:http'
import https from 'node:https'
import { hasBoundChallenge, hasBoundCredentials } from '../http1/connection-auth.ts'
import { Backend, type BackendTls } from '../model/backend.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { Clock } from '../runtime/clock.ts'

/** Connections to the service at a time. Further requests wait for one, within their time. */
const MAX_CONNECTIONS = 256

/** A service that is asked by GET, over HTTP/1.1 on connections that are kept. */
export class AuthService {
  /** For messages: without the query, which may hold secrets. */
  readonly name: string
  readonly #backend: Backend
  readonly #path: string
  readonly #timeoutMs: number
  readonly #clock: Clock
  readonly #agent: http.Agent

  /** @throws TypeError if `url` is not `http://`, `https://` or `http+unix:`, with or without a path and a query, or `tls` does not fit. */
  constructor(url: string, tls: BackendTls | undefined, timeoutMs: number, clock: Clock) {
    const [, address = '', query = ''] = /^([^?#]*)(\?[^#]*)?/.exec(url) ?? []
    this.#backend = new Backend({ url: address, ...(tls !== undefined && { tls }) })
    const { basePath, endpoint, id } = this.#backend
    if (tls !== undefined && !endpoint.isSecure) throw new TypeError(`${id} is not https://, so that tls means nothing`)
    // A backend's path has no slash at its end, but here the path is the whole one.
    const path = address.endsWith('/') || basePath === '' ? `${basePath}/` : basePath
    this.name = id + path
    this.#path = path + query
    this.#timeoutMs = timeoutMs
    this.#clock = clock
    const options = { keepAlive: true, maxSockets: MAX_CONNECTIONS }
    this.#agent = endpoint.isSecure ? new https.Agent(options) : new http.Agent(options)
  }

  /**
   * Asks with these headers.
   * @returns the response. That to a 2xx is read to its end already; another one must be read or destroyed.
   * Rejects if there is none in time, or if it is no verdict (5xx). Gives up when `signal` is aborted.
   */
  async ask(headers: HeaderList, signal: AbortSignal): Promise<http.IncomingMessage> {
    // On a connection of its own if these credentials would authenticate it for the clients that come after.
    const agent = hasBoundCredentials(headers) ? false : this.#agent
    const endsAt = this.#clock.now() + this.#timeoutMs
    const response =
      (await this.#send(headers, agent, endsAt, signal)) ?? (await this.#send(headers, false, endsAt, signal))
    if (response === null) throw new Error('it closed the connection without a response')
    const { statusCode = 0, rawHeaders } = response
    const isBound = hasBoundChallenge(rawHeaders)
    if (statusCode < 500 && !isBound) return response
    response.destroy()
    throw new Error(isBound ? 'it asks for NTLM or Negotiate authentication' : `it responded with ${statusCode}`)
  }

  /** @returns the response; `null` if a kept connection was closed before it, as its end may have been on its way. */
  #send(
    headers: HeaderList,
    agent: http.Agent | false,
    endsAt: number,
    signal: AbortSignal,
  ): Promise<http.IncomingMessage | null> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) throw new Error('the client has gone')
      const request = this.#request(headers, agent)
      let givenUp = false
      const giveUp = (reason: string): void => {
        givenUp = true
        request.destroy(new Error(reason))
      }
      const onAbort = (): void => giveUp('the client has gone')
      const late = `no response within ${this.#timeoutMs} ms`
      const cancel = this.#clock.schedule(Math.max(0, endsAt - this.#clock.now()), () => giveUp(late))
      signal.addEventListener('abort', onAbort, { once: true })
      request
        .on('response', (response) => {
          signal.removeEventListener('abort', onAbort)
          response.on('error', ignore)
          // The time of a verdict goes on until its body, which is not used, has come, so that the connection can be kept.
          if (isSuccess(response)) response.resume()
          else cancel()
          resolve(response)
        })
        .on('error', (error) => (request.reusedSocket && !givenUp ? resolve(null) : reject(error)))
        .on('close', () => {
          cancel()
          signal.removeEventListener('abort', onAbort)
          reject(new Error('it closed the connection without a response'))
        })
        .end()
    })
  }

  #request(headers: HeaderList, agent: http.Agent | false): http.ClientRequest {
    const { host, endpoint } = this.#backend
    const { hostname, port, socketPath, isSecure, servername, tls } = endpoint
    const request: http.RequestOptions = {
      ...(socketPath === null ? { host: hostname, port } : { socketPath }),
      path: this.#path,
      headers: ['Host', host, ...headers],
      agent,
    }
    return isSecure
      ? https.request({ ...request, ...(tls as https.RequestOptions), servername })
      : http.request(request)
  }
}

/** Whether the service lets the request pass. */
export function isSuccess({ statusCode = 0 }: http.IncomingMessage): boolean {
  return statusCode >= 200 && statusCode < 300
}

/** Whoever reads the body sees it fail. */
function ignore(): void {}
