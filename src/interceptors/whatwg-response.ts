import { contentLength, fieldValue, removeField } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import type { BodyReader } from './send-body.ts'

/** What is needed of a WHATWG `Response`. Those of node, undici, node-fetch and other realms have it. */
export interface ResponseLike {
  readonly status: number
  readonly statusText?: string
  readonly headers: Iterable<readonly [name: string, value: string]>
  /** A `ReadableStream`, an async iterable, or `null`. */
  readonly body: object | null
  readonly bodyUsed?: boolean
  /** Not empty if it came from `fetch()`. */
  readonly url?: string
}

/** Codings that `fetch()` of every supported node has decoded by the time its response is there; the header still names them. */
const DECODED = /^(?:(?:x-)?gzip|deflate|br)$/i

/** Whether it looks like a `Response`. */
export function isResponse(value: unknown): value is ResponseLike {
  if (typeof value !== 'object' || value === null) return false
  const { status, headers, body } = value as Partial<ResponseLike>
  const hasHeaders = typeof headers === 'object' && headers !== null && Symbol.iterator in headers
  return typeof status === 'number' && hasHeaders && (body === null || typeof body === 'object')
}

/**
 * The head of a response, and the reader of its body; `null` if there is nothing to read. The body of a response to HEAD is cancelled.
 * @throws TypeError if the body was read before.
 */
export function openResponse(
  response: ResponseLike,
  method: string,
): { head: ResponseHead; reader: BodyReader | null } {
  const { status, body } = response
  if (response.bodyUsed === true) throw new TypeError('the body of the Response was read before it was returned')
  const headers = headerList(response.headers)
  const isFetched = typeof response.url === 'string' && response.url !== ''
  if (isFetched && body !== null && isDecoded(headers)) {
    removeField(headers, 'content-encoding')
    removeField(headers, 'content-length')
  }
  const length = contentLength(fieldValue(headers, 'content-length') ?? '')
  if (body === null && length > 0 && method !== 'HEAD' && status !== 304) {
    throw new TypeError(`the Response has a Content-Length of ${length}, but no body`)
  }
  const head = {
    status,
    reason: response.statusText ?? '',
    headers,
    bodyBytes: length < 0 && body === null ? 0 : length,
  }
  if (body === null) return { head, reader: null }
  const reader = readerOf(body)
  if (method !== 'HEAD') return { head, reader }
  reader.cancel()
  return { head, reader: null }
}

/** The headers as a list, each `Set-Cookie` on a line of its own. */
function headerList(headers: ResponseLike['headers']): HeaderList {
  const list: HeaderList = []
  const { getSetCookie, raw } = headers as {
    getSetCookie?: () => string[]
    /** Of node-fetch. */
    raw?: () => Record<string, string[] | undefined>
  }
  const cookies =
    typeof getSetCookie === 'function'
      ? getSetCookie.call(headers)
      : typeof raw === 'function'
        ? raw.call(headers)['set-cookie']
        : undefined
  for (const [name, value] of headers) {
    if (cookies === undefined || name.toLowerCase() !== 'set-cookie') list.push(name, value)
  }
  for (const cookie of cookies ?? []) list.push('set-cookie', cookie)
  return list
}

function isDecoded(headers: HeaderList): boolean {
  const codings = fieldValue(headers, 'content-encoding')?.split(',') ?? []
  return codings.length > 0 && codings.every((coding) => DECODED.test(coding.trim()))
}

/** @throws TypeError if the body is locked, or cannot be read. */
function readerOf(body: object): BodyReader {
  const {
    getReader,
    [Symbol.asyncIterator]: iterate,
    destroy,
  } = body as {
    getReader?: () => { read(): ReturnType<BodyReader['read']>; cancel(): Promise<void> }
    [Symbol.asyncIterator]?: () => AsyncIterator<unknown>
    destroy?: () => void
  }
  if (typeof getReader === 'function') {
    const reader = getReader.call(body)
    return { read: () => reader.read(), cancel: () => catchRejection(reader.cancel(), ignore) }
  }
  if (typeof iterate !== 'function')
    throw new TypeError('the body of the Response is neither a ReadableStream nor async iterable')
  const iterator = iterate.call(body)
  return {
    read: () => iterator.next(),
    cancel() {
      // The stream behind the iterator of a node stream ends only by this while a piece is awaited.
      if (typeof destroy === 'function') destroy.call(body)
      else catchRejection(iterator.return?.(), ignore)
    },
  }
}

/** The exchange is over, or has failed for another reason. */
function ignore(): void {}
