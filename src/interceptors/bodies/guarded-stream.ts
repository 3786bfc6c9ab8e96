import type { Duplex } from 'node:stream'
import { catchRejection } from '../../runtime/callbacks.ts'

type Method = (this: Duplex, ...args: unknown[]) => unknown

/** What node calls of a Transform, and of another Duplex. Transform's own methods of the second list call those of the first. */
const OF_TRANSFORMS = ['_transform', '_flush']
const OF_DUPLEXES = ['_write', '_writev', '_final', '_read']

/**
 * Makes what a stream's methods throw, or what their promises reject with, an error of the stream. Node catches neither, and they
 * may be called from an event, where an error would end the process.
 * @throws TypeError if it is not a stream.
 */
export function guardedStream(stream: Duplex): Duplex {
  if (!isDuplex(stream)) throw new TypeError('transform() returned no stream: return a Transform of node:stream')
  const methods = stream as unknown as Record<string, Method | undefined>
  const onThrew = (thrown: unknown): void =>
    void stream.destroy(thrown instanceof Error ? thrown : new Error(`it threw ${String(thrown)}`))
  for (const name of typeof methods._transform === 'function' ? OF_TRANSFORMS : OF_DUPLEXES) {
    const method = methods[name]
    if (typeof method !== 'function') continue
    methods[name] = (...args) => {
      try {
        catchRejection(method.apply(stream, args), onThrew)
      } catch (thrown) {
        onThrew(thrown)
      }
    }
  }
  return stream
}

function isDuplex(value: Partial<Duplex> | null | undefined): boolean {
  return typeof value?.write === 'function' && typeof value.pause === 'function' && typeof value.destroy === 'function'
}
