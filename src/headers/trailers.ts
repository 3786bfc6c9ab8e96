import type { HeaderList } from '../model/exchange-view.ts'
import { CONNECTION_BOUND, classify, FRAMING, NO_TRAILER } from './facts.ts'

/** The trailers that are passed on. @returns `null` if none is left. */
export function passableTrailers(trailers: HeaderList): HeaderList | null {
  const list: HeaderList = []
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string
    if ((classify(name) & NO_TRAILER) === 0) list.push(name, trailers[i + 1] as string)
  }
  return list.length === 0 ? null : list
}

/** Whether trailers speak of the connection, as only a head may: node ends it then. */
export function mentionsConnection(trailers: Readonly<HeaderList>): boolean {
  return mentions(trailers, CONNECTION_BOUND)
}

/** Whether trailers say again how long the body is, for a receiver that merges them into the head: node refuses them. */
export function mentionsFraming(trailers: Readonly<HeaderList>): boolean {
  return mentions(trailers, FRAMING)
}

function mentions(trailers: Readonly<HeaderList>, fact: number): boolean {
  for (let i = 0; i < trailers.length; i += 2) if ((classify(trailers[i] as string) & fact) !== 0) return true
  return false
}
