import { type RequestHeaderPolicy, type RequestHeaders, requestHeaders } from '../../headers/request.ts'
import { NOT_PLAIN, RequestParser } from '../../http1/request-parser.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { Peer } from '../../model/peer.ts'

/** Limits of a {@link RequestReader}. */
export interface RequestBounds {
  readonly maxHeadBytes: number
  readonly maxHeaders: number
  readonly maxTargetBytes: number
}

/**
 * Reads the requests that the socket front serves itself: a head of plain syntax, and headers that no parser could read in
 * another way (one valid Host, no Upgrade, no Expect, and a body of one known length, in chunks, or none). All other requests are
 * {@link NOT_PLAIN}.
 */
export class RequestReader {
  // The fields of the last head:
  method = ''
  target = ''
  headers: Readonly<HeaderList> = []
  /** The headers for a backend, and their meaning; unset until the first head was read. */
  sent!: RequestHeaders
  readonly #parser: RequestParser
  readonly #maxTargetBytes: number
  readonly #policy: () => RequestHeaderPolicy

  /** @param policy the current one. */
  constructor({ maxHeadBytes, maxHeaders, maxTargetBytes }: RequestBounds, policy: () => RequestHeaderPolicy) {
    this.#parser = new RequestParser(maxHeadBytes, maxHeaders)
    this.#maxTargetBytes = maxTargetBytes
    this.#policy = policy
  }

  /** Reads a head at `from`. @returns its length, INCOMPLETE or {@link NOT_PLAIN}. */
  read(bytes: Buffer, from: number, to: number, peer: Peer): number {
    const parser = this.#parser
    const length = parser.parse(bytes, from, to)
    if (length <= 0) return length
    const { method, target, headers } = parser
    if (target.length > this.#maxTargetBytes) return NOT_PLAIN
    const sent = requestHeaders(headers, method, '1.1', peer, this.#policy())
    if (sent.fault !== null || !sent.isPlain) return NOT_PLAIN
    this.method = method
    this.target = target
    this.headers = headers
    this.sent = sent
    return length
  }
}
