import type { ServerOptions } from './types.ts'

/** What follows the request and the response, or the socket, in a call. */
export interface CallArguments {
  readonly head: Buffer | undefined
  readonly options: ServerOptions | undefined
  readonly callback: ((error: Error) => unknown) | undefined
}

/** By their kinds, not by their places: the packages differ in the order. */
export function readArguments(rest: readonly unknown[]): CallArguments {
  let head: CallArguments['head']
  let options: CallArguments['options']
  let callback: CallArguments['callback']
  for (const one of rest) {
    if (typeof one === 'function') callback = one as NonNullable<CallArguments['callback']>
    else if (Buffer.isBuffer(one)) head = one
    else if (typeof one === 'object' && one !== null) options = one
  }
  return { head, options, callback }
}
