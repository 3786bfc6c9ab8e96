import type { Handler } from '../contracts/interceptor.ts'
import type { ResponseHead } from '../model/message.ts'
import { wrapSink } from './wrap-sink.ts'

/** Most bytes that are read of a response that nobody wants, so that its connection can be kept. */
const MOST_UNREAD_BYTES = 65_536

/** What happens instead of a response. */
export interface Replacement {
  /** Close the connection at once. Default `false`: the rest of a short response is read, so that the connection can be kept. */
  readonly isCut?: boolean
  /** Responds otherwise, or calls `next` again. */
  start(): void
}

/**
 * Calls `next`, and lets `replace` take over at the head of the response: if it returns a replacement, the response is dropped, and
 * the replacement is started. The connection of a long response is closed.
 */
export function callReplaceable(
  next: Handler,
  [exchange, request, body, sink]: Parameters<Handler>,
  replace: (head: ResponseHead) => Replacement | null,
): void {
  const call = new AbortController()
  const signal = request.signal === undefined ? call.signal : AbortSignal.any([request.signal, call.signal])
  let isDropped = false
  let droppedBytes = 0
  const replaceable = wrapSink(sink, {
    onHead(head, flow) {
      const replacement = replace(head)
      if (replacement === null) return sink.onHead(head, flow)
      isDropped = true
      if (replacement.isCut === true || head.bodyBytes > MOST_UNREAD_BYTES) call.abort()
      replacement.start()
    },
    onData(chunk) {
      if (!isDropped) return sink.onData(chunk)
      droppedBytes += chunk.length
      if (droppedBytes > MOST_UNREAD_BYTES) call.abort()
      return true
    },
    onEnd(trailers) {
      if (!isDropped) sink.onEnd(trailers)
    },
    onError(error) {
      if (!isDropped) sink.onError(error)
    },
  })
  next(exchange, { ...request, signal }, body, replaceable)
}
