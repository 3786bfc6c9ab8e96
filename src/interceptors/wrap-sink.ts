import type { ResponseSink } from '../contracts/pool.ts'

/** A sink for `next` that passes everything on to `sink`, except for the calls that `changes` takes. */
export function wrapSink(sink: ResponseSink, changes: Partial<ResponseSink>): ResponseSink {
  return {
    onInformational: (head) => sink.onInformational(head),
    onHead: (head, flow) => sink.onHead(head, flow),
    onData: (chunk) => sink.onData(chunk),
    onFlush: () => sink.onFlush(),
    onEnd: (trailers) => sink.onEnd(trailers),
    onUpgrade: (head, stream, rest) => sink.onUpgrade(head, stream, rest),
    onError: (error) => sink.onError(error),
    ...changes,
  }
}
