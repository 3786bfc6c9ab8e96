import type { HeaderList } from './exchange-view.ts'

/** A version of HTTP, as in `Via`. */
export type HttpVersion = '1.0' | '1.1' | '2'

/** The head of a request to a backend. The list has no framing headers: the pool adds them. */
export interface RequestHead {
  readonly method: string
  /** Path and query. Starts with `/`, or is `*`. */
  path: string
  /** Value of `Host`, which is also in {@link headers}; empty if there is none. */
  readonly authority: string
  readonly headers: HeaderList
  /** The protocols that the client asks to switch to, as in `Upgrade`; `null` for an ordinary request. */
  readonly upgrade: string | null
  /** For an interceptor that chooses the group, by its name, while no attempt runs. Default: the group of the route, or of the call. */
  readonly group?: string | undefined
  /** For an interceptor that calls `next` more than once. After it is aborted, this request ends and its sink gets no more calls. */
  readonly signal?: AbortSignal | undefined
}

/** The head of a response. */
export interface ResponseHead {
  status: number
  /** Reason phrase; empty for the usual one of the status. */
  reason: string
  /** May include framing and hop-by-hop headers, as received. They are removed before the client gets the response. */
  headers: HeaderList
  /** Exact length of the body in bytes; 0 if there is none; -1 if it is unknown. */
  bodyBytes: number
}
