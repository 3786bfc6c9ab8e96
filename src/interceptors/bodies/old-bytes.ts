import type { ExchangeView, HeaderList } from '../../model/exchange-view.ts'
import type { HeaderView } from '../../model/header-view.ts'
import type { ResponseHead } from '../../model/message.ts'

/**
 * Headers that describe the bytes that a backend has sent: digests (RFC 9530; `Digest` of RFC 3230 and `Content-MD5` before it), and
 * the offer of ranges (RFC 9110 section 14.3), which the backend would cut out of its own bytes.
 */
const OF_BYTES = ['Accept-Ranges', 'Content-Digest', 'Repr-Digest', 'Digest', 'Content-MD5']

/**
 * Validators (RFC 9110 section 8.8). The backend gives them to its own content and does not know of the edit. With `If-Range`, a
 * client could join edited bytes with a range of the backend's; after the edit itself has changed, the backend would still
 * respond with 304. This holds for `Last-Modified` too: section 8.8.2.2 allows its use as a strong validator.
 */
const VALIDATORS = ['ETag', 'Last-Modified']

const OLD = new Set([...OF_BYTES, ...VALIDATORS].map((name) => name.toLowerCase()))

/** Removes what describes the bytes of a body that gets another content coding. The content itself stays the same. */
export function forgetBytes(headers: HeaderView): void {
  for (const name of OF_BYTES) headers.delete(name)
}

/** Removes what describes a body that is edited. */
export function forgetContent(headers: HeaderView): void {
  forgetBytes(headers)
  for (const name of VALIDATORS) headers.delete(name)
}

/** The trailers of a changed body: without those that describe the old one. */
export function trailersOfChangedBody(trailers: Readonly<HeaderList>): HeaderList {
  const list: HeaderList = []
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string
    if (!OLD.has(name.toLowerCase())) list.push(name, trailers[i + 1] as string)
  }
  return list
}

/**
 * Whether the response has a whole body that can be changed: not a part of one (206), and not none. For HEAD: whether that to GET
 * has one, as far as the head says.
 */
export function hasWholeBody(
  { status, bodyBytes }: ResponseHead,
  headers: HeaderView,
  exchange: ExchangeView,
): boolean {
  if (isBodiless(status) || isPart(status, headers)) return false
  if (exchange.method !== 'HEAD') return bodyBytes !== 0
  return headers.get('Content-Length') !== '0'
}

/** Whether a response with this status never has a body. */
function isBodiless(status: number): boolean {
  return status === 204 || status === 205 || status === 304
}

/** Whether the body is a part of another one, which cannot be changed alone (RFC 9110 section 14.4). */
export function isPart(status: number, headers: HeaderView): boolean {
  return status === 206 || headers.has('Content-Range')
}
