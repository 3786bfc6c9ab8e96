import type { ProxyError } from '../model/errors.ts'
import type { Services } from './services.ts'

/** The first line of a request that was not read to its end. */
export interface RequestLine {
  readonly method: string
  readonly target: string
  readonly httpVersion: string
}

/** Facts about a request that could not be read. */
export interface KnownRequest {
  /** The request line, if it arrived. */
  readonly request: RequestLine | null
  /** Its head has arrived completely, and it has its own record. */
  readonly hasExchange: boolean
}

/** A request, or a connection, that was refused before there was an exchange. */
export interface Refusal {
  readonly error: ProxyError
  /** Address of the peer; empty for a unix socket. */
  readonly clientAddress: string
  /** `null` if it did not arrive, or cannot be distinguished from other bytes. */
  readonly request: RequestLine | null
  /** Status sent to the client; 0 if nothing is sent. */
  readonly status: number
  readonly responseBytes: number
}

/** Records a refusal: access log, diagnostic and `error` event. There is no exchange, and so no `finish` event. */
export function recordRefusal(services: Services, refusal: Refusal): void {
  const { error, clientAddress, request, status, responseBytes } = refusal
  tellRefusal(services, error, clientAddress)
  if (!services.observers.has('onRefusal')) return
  const { method, target, httpVersion } = request ?? UNREAD
  services.observers.notify('onRefusal', error, {
    id: 0,
    thread: services.thread,
    epochMs: services.clock.epoch(),
    clientAddress,
    user: '',
    method,
    target,
    httpVersion,
    host: '',
    status,
    requestBytes: 0,
    responseBytes,
    firstByteMs: -1,
    totalMs: 0,
    backendMs: 0,
    backend: null,
    attempts: 0,
    group: '',
    outcome: 'local',
    errorCode: error.code,
    grpcStatus: null,
    referer: '',
    userAgent: '',
  })
}

/** Reports a refusal without a line in the access log: the exchange, which is still running, writes that line. */
export function tellRefusal(services: Services, error: ProxyError, clientAddress: string): void {
  const { code, status, cause } = error
  const causeCode = (cause as NodeJS.ErrnoException | undefined)?.code
  services.failures.tell(error, { code, status, client: clientAddress, cause: causeCode })
  if (services.observers.has('onError')) services.observers.notify('onError', error, null)
}

const UNREAD: RequestLine = { method: '-', target: '-', httpVersion: '-' }

/** Longer request lines are cut for the log. */
const MAX_LINE_BYTES = 8192

/** The request line at the start of `bytes`; `null` if it cannot be recognised. */
export function requestLineOf(bytes: Buffer): RequestLine | null {
  const end = bytes.indexOf('\n')
  const text = bytes.toString('latin1', 0, Math.min(end < 0 ? bytes.length : end, MAX_LINE_BYTES))
  const [, method, target, httpVersion = '-'] = REQUEST_LINE.exec(text) ?? []
  // The target of an incomplete line may be cut.
  if (method === undefined || target === undefined || (httpVersion === '-' && text.length < MAX_LINE_BYTES)) return null
  return { method, target, httpVersion }
}

const REQUEST_LINE = /^([\w!#$%&'*+.^`|~-]{1,40}) (\S+)(?: HTTP\/(\d\.\d)\r?$)?/
