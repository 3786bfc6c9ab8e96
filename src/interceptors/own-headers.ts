import type { BodySource } from '../contracts/pool.ts'
import { plainName } from '../headers/facts.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { headerNames } from './option-checks.ts'

/** Headers of requests that only an interceptor writes; see {@link ownHeaders}. */
export interface OwnHeaders {
  /** A copy of `headers`, without those of the client that have these names, and with `added` at the end. */
  replace(headers: Readonly<HeaderList>, added?: Readonly<HeaderList>): HeaderList
  /** The body without trailers that have these names: a backend may add trailers to the headers. */
  clean(body: BodySource | null): BodySource | null
}

/**
 * For headers by which an interceptor tells the backend something about the client (`X-User`): whatever the client sends by these
 * names is removed. So are names that a backend cannot distinguish from them by CGI's rules (`X_User`).
 * @throws TypeError if `names` is not a list of names of headers that an interceptor may write.
 */
export function ownHeaders(names: readonly string[]): OwnHeaders {
  const plain = new Set(headerNames('ownHeaders', 'names', names, "['X-User']").map(plainName))
  // One view of a body, whatever the number of calls: it has one reader.
  const views = new WeakMap<BodySource, BodySource>()

  function without(list: Readonly<HeaderList>): HeaderList {
    const kept: HeaderList = []
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i] as string
      if (!plain.has(plainName(name))) kept.push(name, list[i + 1] as string)
    }
    return kept
  }

  return {
    replace: (headers, added = []) => without(headers).concat(added),
    clean(body) {
      // Only chunks can have trailers after them.
      if (body === null || body.bytes >= 0 || plain.size === 0) return body
      let view = views.get(body)
      if (view === undefined) {
        view = new CleanBody(body, without)
        views.set(body, view)
      }
      return view
    },
  }
}

class CleanBody implements BodySource {
  readonly bytes = -1
  readonly #body: BodySource
  readonly #without: (trailers: Readonly<HeaderList>) => HeaderList

  constructor(body: BodySource, without: (trailers: Readonly<HeaderList>) => HeaderList) {
    this.#body = body
    this.#without = without
  }

  get expectsContinue(): boolean {
    return this.#body.expectsContinue
  }
  get isReplayable(): boolean {
    return this.#body.isReplayable
  }

  start(sink: Parameters<BodySource['start']>[0]): void {
    this.#body.start({
      onBody: (chunk) => sink.onBody(chunk),
      onBodyEnd: (trailers) => sink.onBodyEnd(trailers === null ? null : this.#without(trailers)),
    })
  }
  resume(): void {
    this.#body.resume()
  }
  stop(): void {
    this.#body.stop()
  }
  whenArrived(call: () => void): void {
    this.#body.whenArrived?.(call)
  }
}
