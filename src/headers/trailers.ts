import type { HeaderList } from '../model/exchange-view.ts'
import { forwardingName, plainName } from './facts.ts'

/**
 * What may not come in a trailer (RFC 9110 section 6.5.1), besides the family of {@link forwardingName}, which says who the
 * client is: framing, connection, routing, conditions, authentication, what controls the response and what says how to
 * read the body. A receiver that merges trailers into the head would believe it.
 */
const FORBIDDEN = new Set([
  'age',
  'authorization',
  'cache-control',
  'connection',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'expect',
  'expires',
  'host',
  'http2-settings',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'keep-alive',
  'location',
  'max-forwards',
  'pragma',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'range',
  'retry-after',
  'set-cookie',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'vary',
  'via',
  'www-authenticate',
])

/** The trailers that are passed on. @returns `null` where none is left. */
export function passableTrailers(trailers: HeaderList): HeaderList | null {
  const list: HeaderList = []
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string
    if (forwardingName(name) === null && !FORBIDDEN.has(plainName(name))) list.push(name, trailers[i + 1] as string)
  }
  return list.length === 0 ? null : list
}
