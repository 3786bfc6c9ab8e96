import { validateHeaderName, validateHeaderValue } from 'node:http'
import type { Transform } from '../contracts/transform.ts'
import { isReserved } from '../headers/view.ts'
import type { HeaderView } from '../model/header-view.ts'
import { describeError } from '../runtime/describe-error.ts'

/** Headers to set and to remove. */
export interface HeaderChanges {
  /** Values by name; each replaces all headers of that name. */
  set?: Readonly<Record<string, string>> | undefined
  /** Names to remove, before `set`. */
  remove?: readonly string[] | undefined
}

/** Why a transform cannot change the header `name`, or `null` if it can. */
export function headerNameFault(name: string): string | null {
  if (isReserved(name)) return `${name} belongs to the connection and is written by the proxy itself`
  return faultOf(() => validateHeaderName(name))
}

/** Why `value` is not a valid header value, or `null` if it is. */
export function headerValueFault(name: string, value: string): string | null {
  // Node accepts numbers and lists as well, but here the value is written into the head as it is.
  if (typeof value !== 'string') return `the value of ${name} must be a string`
  return faultOf(() => validateHeaderValue(name, value))
}

/** Changes the headers of each request before it is sent to a backend. @throws TypeError for an invalid name or value. */
export function requestHeaders(changes: HeaderChanges): Transform {
  const change = compile('requestHeaders', changes)
  return { name: 'request-headers', request: (request) => change(request.headers) }
}

/** Changes the headers of each response before it is sent to the client. @throws TypeError for an invalid name or value. */
export function responseHeaders(changes: HeaderChanges): Transform {
  const change = compile('responseHeaders', changes)
  return { name: 'response-headers', response: (response) => change(response.headers) }
}

function compile(caller: string, { set = {}, remove = [] }: HeaderChanges): (headers: HeaderView) => void {
  const removed = [...remove]
  const written = Object.entries(set)
  const faults = [
    ...removed.map(headerNameFault),
    ...written.map(([name, value]) => headerNameFault(name) ?? headerValueFault(name, value)),
  ].filter((fault) => fault !== null)
  if (faults.length > 0) throw new TypeError(`${caller}(): ${faults.join('; ')}`)
  return (headers) => {
    for (const name of removed) headers.delete(name)
    for (const [name, value] of written) headers.set(name, value)
  }
}

function faultOf(check: () => void): string | null {
  try {
    check()
    return null
  } catch (error) {
    return describeError(error)
  }
}
