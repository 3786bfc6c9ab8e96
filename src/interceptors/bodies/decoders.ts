import type { Duplex } from 'node:stream'
import zlib from 'node:zlib'
import { headerView } from '../../headers/view.ts'
import { fieldValues } from '../../http1/fields.ts'
import { ProxyError } from '../../model/errors.ts'
import type { ExchangeView, HeaderList } from '../../model/exchange-view.ts'
import type { RequestHead } from '../../model/message.ts'
import { describeError } from '../../runtime/describe-error.ts'
import type { Stage } from './body-streams.ts'

/** A body with more codings is not decoded: each decoder takes memory, whatever the body's size. */
const MAX_CODINGS = 3

/** RFC 9659: no content coding may need a larger window. Frames may ask for 128 MiB. */
const ZSTD_WINDOW_LOG = 23

/** Whether this version of node has zstd (22.15 and later). */
export const HAS_ZSTD = typeof zlib.createZstdDecompress === 'function'

/** @param first the first bytes of the body. */
type Decoder = (first: Buffer) => Duplex

const DECODERS: Readonly<Record<string, Decoder>> = {
  gzip: () => zlib.createGunzip(),
  'x-gzip': () => zlib.createGunzip(),
  // Some servers send it without the zlib header of RFC 9110 section 8.4.1.2, whose first byte ends in 8.
  deflate: (first) => (((first[0] as number) & 0x0f) === 8 ? zlib.createInflate() : zlib.createInflateRaw()),
  br: () => zlib.createBrotliDecompress(),
  ...(HAS_ZSTD && {
    zstd: () => zlib.createZstdDecompress({ params: { [zlib.constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG } }),
  }),
}

/** The codings of a body, in the order in which they were applied (RFC 9110 section 8.4), in lower case. */
export function codingsOf(headers: Readonly<HeaderList>): string[] {
  return membersOf(headers, 'content-encoding').filter((coding) => coding !== 'identity')
}

/** The members of a list over all lines of a header, in lower case. */
function membersOf(headers: Readonly<HeaderList>, lowerName: string): string[] {
  const members = fieldValues(headers, lowerName).join(',').split(',')
  return members.map((member) => member.trim().toLowerCase()).filter((member) => member !== '')
}

/**
 * The streams that decode the body of a response: none if it is not coded, `null` if a coding is not known. A body that a decoder
 * refuses, or that ends too early, is the backend's error.
 */
export function decodersFor(headers: Readonly<HeaderList>, exchange: ExchangeView): Stage[] | null {
  const codings = codingsOf(headers)
  if (codings.length > MAX_CODINGS || !codings.every(isKnown)) return null
  return codings.reverse().map((coding) => ({
    stream: DECODERS[coding] as Decoder,
    fault: (cause) => {
      const message = `the response has Content-Encoding ${coding}, but its body is not valid or not complete: ${describeError(cause)}`
      return badBody(message, exchange, cause)
    },
  }))
}

/** The error for a body that cannot be used. Its response was valid HTTP, which says nothing against the health of the backend. */
export function badBody(message: string, { backend, attempts }: ExchangeView, cause?: unknown): ProxyError {
  const details = { cause, backend, attempt: attempts, phase: 'body', blamesBackend: false } as const
  return new ProxyError('ERR_PROXY_BAD_RESPONSE', message, details)
}

/**
 * The request, whose Accept-Encoding lists only codings that can be decoded, so that a backend does not send a body that cannot be
 * read. @returns `request` itself if nothing has to be changed.
 */
export function askForDecodable(request: RequestHead): RequestHead {
  const asked = membersOf(request.headers, 'accept-encoding')
  const kept = asked.filter(isDecodable)
  if (kept.length === asked.length) return request
  const headers = [...request.headers]
  headerView(headers).set('Accept-Encoding', kept.length === 0 ? 'identity' : kept.join(', '))
  return { ...request, headers }
}

/** @param member of an Accept-Encoding. What is not acceptable anyway stays. */
function isDecodable(member: string): boolean {
  const [coding = '', weight = ''] = member.split(';')
  const name = coding.trim()
  return name === 'identity' || isKnown(name) || /^\s*q\s*=\s*0(?:\.0*)?\s*$/.test(weight)
}

function isKnown(coding: string): boolean {
  return Object.hasOwn(DECODERS, coding)
}
