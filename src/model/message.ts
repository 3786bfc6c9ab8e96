import type { HeaderList } from './exchange-view.ts'

/** The head of a request for a backend. Framing headers are not in the list: whoever sends it writes them. */
export interface RequestHead {
  readonly method: string
  /** Path and query. Starts with `/`, or is `*`. */
  path: string
  /** Value of `Host`, which is in {@link headers} as well; empty if there is none. */
  readonly authority: string
  readonly headers: HeaderList
  /** The protocols that the client asks to switch to, as in `Upgrade`; `null` for an ordinary request. */
  readonly upgrade: string | null
  /** For an interceptor that calls `next` more than once: aborted, this request ends, and nothing more is delivered to its sink. */
  readonly signal?: AbortSignal
}

/** The head of a response. */
export interface ResponseHead {
  status: number
  /** Empty for the usual one of the status. */
  reason: string
  /** Framing and hop-by-hop headers may still be in the list, as received. They are removed before the client gets it. */
  headers: HeaderList
  /** Exact length of the body in bytes; 0 if there is none; -1 if only its end will tell. */
  bodyBytes: number
}
