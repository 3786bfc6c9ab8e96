import type { HeaderList } from '../model/exchange-view.ts'
import { CONNECTION_BOUND, classify, FRAMING, NO_TRAILER } from './facts.ts'
import { nominatedNames } from './nominated.ts'

/**
 * The trailers to pass on: without those that are only allowed in a head, and without those that `Connection` nominates, which
 * applies to trailers too (RFC 9110 section 7.6.1).
 * @param head headers of the same message, as received.
 * @returns `null` if none is left.
 */
export function passableTrailers(trailers: HeaderList, head: Readonly<HeaderList>): HeaderList | null {
  const list: HeaderList = []
  const nominated = nominatedNames(head)
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string
    if (classify(name, NO_TRAILER) !== 0 || nominated?.has(name.toLowerCase()) === true) continue
    list.push(name, trailers[i + 1] as string)
  }
  return list.length === 0 ? null : list
}

/** Whether trailers contain connection headers, which are only allowed in a head: node then ends the connection. */
export function mentionsConnection(trailers: Readonly<HeaderList>): boolean {
  return mentions(trailers, CONNECTION_BOUND)
}

/**
 * Whether trailers contain framing headers, which could mislead a receiver that merges them into the head: node refuses
 * them.
 */
export function mentionsFraming(trailers: Readonly<HeaderList>): boolean {
  return mentions(trailers, FRAMING)
}

function mentions(trailers: Readonly<HeaderList>, fact: number): boolean {
  for (let i = 0; i < trailers.length; i += 2) if (classify(trailers[i] as string, fact) !== 0) return true
  return false
}
