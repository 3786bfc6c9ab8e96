import type { ServerResponse } from 'node:http'
import type { ProxyResponse } from './proxy-response.ts'

/**
 * Delivers what is written to the client to `response` as well, from now on. The slower of the two sets the pace: the writer waits
 * for a 'drain' of `res`, which comes when both have room.
 * @returns a function to call when `response` has room again.
 */
export function showBody(res: ServerResponse, response: ProxyResponse): () => void {
  const { write, end, emit, addTrailers } = res
  const isBlocked = (): boolean => Reflect.get(Object.getPrototypeOf(res), 'writableNeedDrain', res) === true
  let isFull = false
  let trailers: string[] = []
  const show = (chunk: unknown): void => {
    if (!(chunk instanceof Uint8Array)) return
    isFull = !response.deliver(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))
  }
  Object.assign(res, {
    write(...args: Parameters<typeof write>): boolean {
      show(args[0])
      return write.apply(res, args) && !isFull
    },
    end(...args: Parameters<typeof end>): ServerResponse {
      show(args[0])
      response.finish(trailers)
      return end.apply(res, args)
    },
    addTrailers(pairs: [string, string][]): void {
      trailers = pairs.flat()
      addTrailers.call(res, pairs)
    },
    emit: (event: string, ...args: unknown[]): boolean =>
      !(event === 'drain' && isFull) && emit.call(res, event, ...args),
  })
  Object.defineProperty(res, 'writableNeedDrain', { get: () => isFull || isBlocked() })
  // http-proxy pipes the response to the client, so it flows whether a listener reads it or not.
  if (response.readableFlowing !== true && response.listenerCount('readable') === 0) response.resume()
  return () => {
    isFull = false
    if (!isBlocked()) res.emit('drain')
  }
}
